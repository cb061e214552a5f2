"""Links of agents in private networks, and what runs over them: HTTP/2 inside a WebSocket, roles reversed."""
