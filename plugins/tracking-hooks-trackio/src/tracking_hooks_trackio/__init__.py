"""Track every Ultralytics YOLO training in Trackio: a plugin of tracking-hooks."""
