"""Pictures of TensorBoard's pages."""

from __future__ import annotations

from docs.pictures.camera import Camera

_DASHBOARD = {"left": 340, "top": 64}
"""Where the charts of an older tab begin: beside its settings, below the bar."""


def take(camera: Camera, link: str) -> None:
    """Take them.

    :param link: what ``tracking-hooks open`` has opened
    """
    server, _, _ = link.partition("/?")
    with camera.picture("tensorboard.png") as page:
        page.goto(link)
        for tag in ("metrics/mAP50-95(B)", "train/cls_loss"):
            page.locator("metrics-pinned-view").get_by_text(tag, exact=True).first.wait_for()
        page.get_by_role("button", name="Settings").first.click()  # they are shown at first
    for name, tab, text, size in (
        ("custom-scalars", "custom_scalars&_smoothingWeight=0", "Matches (2)", _DASHBOARD),
        ("pr-curves", "pr_curves", "pr_curves(B)/triangle", _DASHBOARD),
        ("hparams", "hparams", "validation/best/metrics/mAP50-95(B)", {}),
    ):
        with camera.picture(f"tensorboard-{name}.png", **size) as page:
            page.goto("about:blank")
            page.goto(f"{server}/#{tab}")
            page.get_by_text(text).first.wait_for()
            page.wait_for_timeout(3000)  # the older tabs draw when they have come to rest
