"""Sends a message when a YOLO training has ended, stalls or was acted upon: by Apprise, to chats, mail and webhooks."""
