"""Shows and checks the main job from end to end."""
