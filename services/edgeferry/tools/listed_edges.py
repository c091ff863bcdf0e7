"""The Cloud's file of edges, for the REST interface."""

from collections.abc import Sequence
from pathlib import Path

from edgeferry.api.context import AdmittedEdge
from edgeferry.sync.edges import Edges, NotAdmitted, add_edge, remove_edge, take_back_edge


class ListedEdges:
    """``api.context.AdmittedEdges``."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._edges = Edges(file)

    def all(self) -> Sequence[AdmittedEdge]:
        return [AdmittedEdge(edge.id, edge.name, edge.key) for edge in self._edges.all()]

    def add(self, name: str, key: str = "", secret: str = "") -> AdmittedEdge:
        edge, secret = add_edge(self._file, name, key, secret)
        return AdmittedEdge(edge.id, edge.name, edge.key, secret)

    def has_secret(self, key: str, secret: str) -> bool:
        try:
            self._edges.admit(key, secret)
        except NotAdmitted:
            return False
        return True

    def remove(self, name: str) -> None:
        remove_edge(self._file, name, for_good=True)

    def take_back(self, name: str) -> None:
        take_back_edge(self._file, name)
