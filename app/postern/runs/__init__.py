"""What happened: a Run and its states, and the runner that executes workflows within the request."""
