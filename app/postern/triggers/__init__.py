"""The door: the six verbs that a request goes through, its limits, and the replies."""
