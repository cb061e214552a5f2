"""What the agent counts, as metrics of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Counts:
    """The numbers of one agent. Names of targets are not labels: they are many, and for the log."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.links = Gauge("postern_gateway_agent_links", "Links to server processes.", registry=self._registry)
        self.nodes = Gauge(
            "postern_gateway_agent_nodes", "Server processes that the server says are live.", registry=self._registry
        )
        self.tunnels = Gauge("postern_gateway_agent_open_tunnels", "Tunnels that are open.", registry=self._registry)
        self.ended = Counter(
            "postern_gateway_agent_tunnels_total",
            "Tunnels by outcome: ok, or the reason why there was none.",
            ["outcome"],
            registry=self._registry,
        )
        self.bytes = Counter(
            "postern_gateway_agent_bytes_total",
            "Bytes of tunnels, to and from targets.",
            ["direction"],
            registry=self._registry,
        )
        self.dials = Counter(
            "postern_gateway_agent_dials_total",
            "Attempts to connect to the server, by outcome.",
            ["outcome"],
            registry=self._registry,
        )
        self.rejected_files = Counter(
            "postern_gateway_agent_faulty_files_total",
            "Times that gateway.toml was read again and could not be used.",
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
