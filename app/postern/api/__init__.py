"""The HTTP API beside the triggers: recorded runs and refusals with the checks of who may see and change them, health,
metrics and the documents of the triggers."""
