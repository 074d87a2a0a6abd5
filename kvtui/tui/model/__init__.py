"""What the screen shows, without a widget: collections, actions, jobs, sessions; engine-independent."""
