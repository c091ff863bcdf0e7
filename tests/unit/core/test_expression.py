"""The expression language: what it means and what it refuses."""

import pytest

from edgeferry.core.expression import Expression, InvalidExpression, Names
from edgeferry.core.operations import ExpressionFailed
from tests.unit.core.expressions import MSG, NAMES, value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("msg.temperature > 20", True),
        ("20 < msg.temperature < 21", False),
        ("20 < msg.temperature <= 21.5 < 30", True),
        ("msg.on and msg.count == 3", True),
        ("msg.on and msg.count > 1 and msg.count > 2 and msg.count > 5", False),
        ("false or null or msg.count == 3", True),
        ("not msg.on", False),
        ('msg["a b"] + 1', 2),
        ('msg["temperature"] * 2 - 1', 42.0),
        ("msg.count // 2 + msg.count % 2 + 2 ** 3", 10),
        ("-msg.count", -3),
        ("+msg.count / 2", 1.5),
        ("msg.tags[0]", "hot"),
        ("msg.tags[-1]", "old"),
        ("msg.name[0]", "B"),
        ('"hot" in msg.tags', True),
        ('"hot" not in msg.tags', False),
        ('"oil" in msg.name', True),
        ('"name" in msg', True),
        ('metadata.deviceType in ["boiler", msg.name]', True),
        ('msgType == "POST_TELEMETRY_REQUEST"', True),
        ('metadata["deviceType"] + "!"', "boiler!"),
        ("msg.inner.deep.x", 7),
        ("1 if msg.count > 2 else 2", 1),
        ("len(msg.tags) + len(msg.name) + len(msg.inner)", 11),
        ("abs(-3) + min(1, 2) + max(1, 2) + max([5, 6])", 12),
        ("round(2.567, 2)", 2.57),
        ("round(2.5)", 2),
        ("int(metadata.level) + float(metadata.level)", 14.0),
        ("str(msg.count) + str(msg.on)", "3true"),
        ('lower(msg.name) == "boiler 1"', True),
        ('msg.name.upper().startswith("BOIL")', True),
        ('msg.name.endswith("1") and startswith(msg.name, "Bo")', True),
        ('strip("  x ") + "xxay".strip("x")', "xay"),
        ("true and not false", True),
        ("  msg.count\n  == 3 # a comment\n", True),
        ("(msg.count) == (3)", True),
    ],
)
def test_meaning(text: str, wanted: object) -> None:
    assert value(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("msg.missing", None),
        ("msg.missing.deeper.still", None),
        ("msg.temperature.field", None),
        ("msg.tags[9]", None),
        ('msg.tags["x"]', None),
        ("msg[0]", None),
        ("metadata.missing", None),
        ("msg.missing > 20", False),
        ("msg.missing <= 20", False),
        ("20 > msg.missing", False),
        ("not (msg.missing > 20)", True),
        ("msg.missing == null", True),
        ("msg.null is None", True),
        ("msg.count is not null", True),
        ("msg.missing != 5", True),
        ("msg.missing + 1", None),
        ("-msg.missing", None),
        ("msg.missing - msg.count > 3", False),
        ("lower(msg.missing)", None),
        ('msg.missing.startswith("x")', None),
        ("max(msg.count, msg.missing)", None),
        ("max([])", None),
        ("msg.count in msg.missing", False),
        ("msg.count not in msg.missing", True),
        ("msg.missing in msg.name", False),
    ],
)
def test_what_is_not_there_is_null(text: str, wanted: object) -> None:
    assert value(text) == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("msg.count / 0", "division by zero"),
        ("msg.count % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("metadata.level > 5", "text and a number have no order"),
        ("msg.name * 3", "arithmetic wants numbers, not text"),
        ('msg.name % "x"', "arithmetic wants numbers, not text"),
        ("msg.tags + msg.tags", "arithmetic wants numbers, not a list"),
        ("msg.on + 1", "arithmetic wants numbers, not true or false"),
        ("msg.name + 1", "arithmetic wants numbers, not text"),
        ("2 ** 65", "an exponent above 64"),
        ("(2 ** 64) ** 64", "became too large"),
        ("2.0 ** 64 ** 64", "became too large"),
        ("2.0 ** 8 ** 8", "an exponent above 64"),
        ("1e300 ** 2", "out of range|too large"),
        ("(-8) ** 0.5", "root of a negative"),
        ("round(1, 999999999)", "at most 15 digits"),
        ("len(5)", "len() wants a text"),
        ("lower(5)", "lower() wants text"),
        ("int(msg.tags)", "a list is no number"),
        ('int("' + "9" * 200 + '")', "too long for a number"),
        ("int(1e300)", "became too large"),
        ('int("x")', "invalid literal"),
        ("1 in 5", '"in" wants a list'),
        ("max(msg.tags)", "arithmetic wants numbers"),
    ],
)
def test_what_cannot_be_worked_out_says_why(text: str, reason: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        value(text)
    assert any(one in str(caught.value) for one in reason.split("|"))


def test_a_text_cannot_grow_without_end() -> None:
    long = Names({"t": "x" * 60_000}, {}, "")
    with pytest.raises(ExpressionFailed, match="longer than"):
        Expression.parse("msg.t + msg.t").value(long)


def test_only_true_false_and_null_decide() -> None:
    assert Expression.parse("msg.on").holds(NAMES)
    assert not Expression.parse("msg.missing").holds(NAMES)
    with pytest.raises(ExpressionFailed, match="gave a number, not true or false"):
        Expression.parse("msg.temperature").holds(NAMES)


def test_it_tells_whether_the_body_is_asked_for() -> None:
    assert Expression.parse("metadata.a == 1 or msg.a == 2").uses_msg
    assert not Expression.parse('metadata.msg == "msg"').uses_msg


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("msg.a >", "at its end"),
        ("msg.a msg.b", "line 1, column 1"),
        ("msg.a >\n= > 2", "line 2, column 1"),
        ("msg.a > 1 && msg.b", 'write "and" for "&&"'),
        ("msg.a || msg.b", 'write "or" for "||"'),
        ("msg.a === 1", 'write "==" for "==="'),
        ("msg.a !== 1", 'write "!=" for "!=="'),
        ("!msg.a", 'write "not" for "!"'),
        ("return msg.a > 1;", 'leave out "return"'),
        ("msg.a > 1;", 'leave out ";"'),
        ("a > 1", 'unknown name "a"; there are msg, metadata, msgType'),
        ("__import__('os')", "unknown function"),
        ("eval('1')", "unknown function"),
        ("open('/etc/passwd')", "unknown function"),
        ("print(1)", "unknown function"),
        ("msg.__class__", 'may not begin with "__"'),
        ("msg.inner.__class__.__mro__", 'may not begin with "__"'),
        ("(1).__class__", 'may not begin with "__"'),
        ("msg.get('a')", 'unknown function ".get()"'),
        ('"{0.__class__}".format(msg)', 'unknown function ".format()"'),
        ("msg.name.lower.__globals__", 'may not begin with "__"'),
        ("(lambda: 1)()", "only a named function"),
        ("lambda: 1", "a lambda is not allowed"),
        ("[x for x in msg.tags]", "not allowed"),
        ("{x for x in msg.tags}", "not allowed"),
        ("(x for x in msg.tags)", "not allowed"),
        ("{1: 2}", "an object is not allowed"),
        ("{1, 2}", "a set (write a list) is not allowed"),
        ("(x := 5)", "an assignment is not allowed"),
        ("x = 5", "not an expression|not one expression"),
        ('f"{msg}"', "an f-string is not allowed"),
        ("max(*msg.tags)", "plain arguments only"),
        ("[*msg.tags]", "a star is not allowed"),
        ("round(1, ndigits=2)", "plain arguments only"),
        ("msg.tags[0:1]", "a slice is not allowed"),
        ("await msg", "not allowed"),
        ("(yield 5)", "not allowed"),
        ("msg.a @ msg.b", "the operator MatMult is not allowed"),
        ("1 << 100000000", "the operator LShift is not allowed"),
        ("~msg.count", "the operator Invert is not allowed"),
        ("1 | 2", "the operator BitOr is not allowed"),
        ("b'x'", "type bytes is not allowed"),
        ("1j", "type complex is not allowed"),
        ("...", "type ellipsis is not allowed"),
        ("9" * 100, "a number is too large"),
        ("9" * 1990, "a number is too large"),
        ("msg.a is 5", '"is" is for None only'),
        ("lower()", "wrong number of arguments"),
        ("len(1, 2)", "wrong number of arguments"),
        ("1, 2", "a parenthesis or a comma too many"),
        ("msg.a) or (msg.b", "a parenthesis or a comma too many"),
        ("1) + (2", "a parenthesis or a comma too many"),
        ("msg.a\x00", "null"),
        ('"\\d"', "invalid escape"),
        ("1" + "+1" * 400, "too large"),
        ("(" * 150 + "1" + ")" * 150 + "+msg.a" * 250, "too large"),
        ("-" * 100 + "1", "too large"),
        ("-" * 1900 + "1", "not allowed|too large|too deep"),
        ("(" * 900 + ")" * 900, "not an expression"),
        ("[" * 900 + "]" * 900, "not an expression"),
        ("x" * 2001, "longer than 2000"),
    ],
)
def test_what_is_no_expression_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        Expression.parse(text)
    assert any(one in str(caught.value) for one in reason.split("|")), str(caught.value)


def test_a_value_is_not_changed_by_reading_it() -> None:
    before = str(MSG)
    assert value('"hot" in msg.tags and msg.inner.deep.x == 7 and msg.tags[0] == "hot"')
    assert str(MSG) == before
