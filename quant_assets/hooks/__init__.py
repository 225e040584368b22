"""What follows a step. What belongs here: hooks, and the events and texts they send."""
