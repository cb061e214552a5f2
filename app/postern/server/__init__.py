"""The server process and the wire: HTTP framing, connections, listening sockets, workers, signals and the stop."""
