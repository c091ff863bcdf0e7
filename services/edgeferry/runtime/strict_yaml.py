"""YAML as files of chains and of settings may use it: a plain tree of mappings, lists and values.

Refused: duplicate keys, keys that are not text, anchors and aliases (a few lines of them
can stand for gigabytes), tags, several documents, more than SIZE_MAX. Numbers are
decimal only, dates are text.
"""

import re
from typing import Any, Final

import yaml

SIZE_MAX: Final = 131_072


class InvalidYaml(Exception):
    """``problems`` has one line for each, with line and column."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_yaml(text: str) -> Any:
    """Raises InvalidYaml with every problem found."""
    if len(text) > SIZE_MAX:
        raise InvalidYaml([f"larger than {SIZE_MAX // 1024} KiB"])
    loader: _StrictLoader | None = None
    try:
        loader = _StrictLoader(text)
        tree = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise InvalidYaml([_described(error)]) from None
    except yaml.YAMLError as error:
        raise InvalidYaml([f"not YAML: {' '.join(str(error).split())}"]) from None
    except RecursionError:
        raise InvalidYaml(["nested too deeply"]) from None
    except ValueError as error:  # such as a whole number of thousands of digits
        raise InvalidYaml([f"a value cannot be read: {error}"]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if loader.problems:
        raise InvalidYaml(loader.problems)
    return tree


def dump_yaml(document: Any) -> str:
    """That ``load_yaml`` reads as it was: what it would take for another type is quoted."""
    text: str = yaml.dump(document, Dumper=_StrictDumper, sort_keys=False, allow_unicode=True)
    return text


def _described(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "not YAML"
    mark = error.problem_mark or error.context_mark
    return f"{_place(mark)}: {problem}" if mark else problem


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


_PLAIN: Final = (
    ("tag:yaml.org,2002:null", re.compile(r"~|null|Null|NULL|")),
    ("tag:yaml.org,2002:bool", re.compile(r"yes|no|true|false|on|off", re.IGNORECASE)),
    ("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)),
    ("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")),
)
"""What an unquoted value may be besides text: no dates, no octal, no base 60."""


class _StrictTags(yaml.resolver.BaseResolver):
    """What an unquoted value is, for reading and for writing."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            mapping = kind is yaml.MappingNode
            return self.DEFAULT_MAPPING_TAG if mapping else self.DEFAULT_SEQUENCE_TAG
        if implicit[0]:
            for tag, pattern in _PLAIN:
                if pattern.fullmatch(value):
                    return tag
        return self.DEFAULT_SCALAR_TAG


class _StrictDumper(_StrictTags, yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _StrictLoader(_StrictTags, yaml.SafeLoader):
    """Collects what it refuses in ``problems`` and goes on, so that all are told at once."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise _refused("anchors and aliases are not allowed: write it out", event)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"tags are not allowed: {event.tag}", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            where = _place(key_node.start_mark)
            if type(key) is not str:
                shown = f' ("{key_node.value}")' if isinstance(key_node, yaml.ScalarNode) else ""
                self.problems.append(f"{where}: a key must be text: quote it{shown}")
            elif key in mapping:
                self.problems.append(f"{where}: the key {key} stands here twice")
            else:
                mapping[key] = self.construct_object(value_node, deep=True)
        return mapping


def _refused(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
