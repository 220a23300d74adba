"""Recorded calls of agents as OpenTelemetry spans by the GenAI conventions; guidellm and inference-perf read them too.

A file has `spans` of one session on each line, or a span on each line, or what a collector's file exporter writes
(OTLP's `resourceSpans`). Spans without `spans` around them belong to a session by `gen_ai.conversation.id`, else by
their trace id. A call of a model is a span that did not fail, with `gen_ai.usage.input_tokens` and `output_tokens` (or
their older names) and `gen_ai.input.messages`; other spans, those of tools and agents, are left out.

Messages tell what prompts share: equal messages behind equal messages are equal tokens, in all sessions of the file.
The recorded counts of tokens stand; what a prompt adds is divided among its new messages by their characters. A message
that repeats a recorded reply has that reply's tokens. A call follows the calls that had ended as it began, and waits as
long as it did after the last of them; calls that overlap are sent side by side.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from vbench.workload.rows import Rows

Span = dict[str, Any]

CALLS = {"chat", "generate_content", "text_completion", "generate"}
OTHER_OPERATIONS = {"invoke_agent", "create_agent", "invoke_workflow", "execute_tool", "embeddings", "retrieval"}
MOST_TOKENS = 100_000_000  # of a prompt or a reply: more is a mistake
FAILED = {2, "2", "ERROR", "STATUS_CODE_ERROR"}
INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")


@dataclass(frozen=True)
class Call:
    """A call of a model: times in seconds, tokens, and the text of each message of its prompt and of its reply."""

    start: float
    end: float
    prompt: int
    reply: int
    messages: tuple[str, ...]
    answer: tuple[str, ...]


@dataclass
class _Message:
    """A message behind those that lead to it: its tokens, their part once a prompt has it, and what follows it."""

    tokens: int = 0
    part: int | None = None
    following: dict[str, _Message] = field(default_factory=dict)


def are_spans(entries: Sequence[Any]) -> bool:
    """Whether the entries of a file are spans in one of these forms."""
    return bool(entries) and all(
        isinstance(each, dict) and (isinstance(each.get("spans"), list) or "resourceSpans" in each or _is_span(each))
        for each in entries
    )


def read_sessions(entries: Iterable[Any]) -> list[list[Call]]:
    """The calls of each session that has some, by their start. Raises ValueError, KeyError, TypeError if malformed."""
    sessions: defaultdict[Any, list[Call]] = defaultdict(list)
    for place, entry in enumerate(entries):
        whole = isinstance(entry.get("spans"), list)
        for span in entry["spans"] if whole else _unpack(entry):
            attributes = _read_attributes(span.get("attributes"))
            if _is_call(span, attributes):
                sessions[place if whole else _name_session(span, attributes)].append(_read_call(span, attributes))
    return [sorted(calls, key=lambda call: call.start) for calls in sessions.values()]


def write(sessions: Iterable[Sequence[Call]], limit: int | None) -> Rows:
    """At most `limit` calls as rows, session after session."""
    rows, root = Rows([]), _Message()
    for session, calls in enumerate(sessions):
        first = len(rows)
        for turn, call in enumerate(calls):
            if limit is not None and len(rows) >= limit:
                return rows
            earlier = _find_direct_predecessors(calls[:turn], call.start)
            wait_s = call.start - max((calls[each].end for each in earlier), default=call.start)
            own = _find_parts(rows, root, call)
            rows.add(session, turn, -1, [first + each for each in earlier], wait_s, own, call.reply)
    return rows


def _find_direct_predecessors(calls: Sequence[Call], start: float) -> list[int]:
    """Which calls had ended at `start`, but for those that others of them followed."""
    ended = [place for place, call in enumerate(calls) if call.end <= start]
    latest = max((calls[place].start for place in ended), default=0.0)
    return [place for place in ended if calls[place].end > latest or calls[place].start == latest]


def _find_parts(rows: Rows, root: _Message, call: Call) -> list[int]:
    """The parts of the call's prompt; remembers its new messages, and the reply behind them."""
    known, left = [root], list(call.messages)
    while left and left[0] in known[-1].following:
        known.append(known[-1].following[left.pop(0)])
    adds = max(call.prompt - sum(message.tokens for message in known), 1)
    for text, tokens in zip(left, _divide(adds, [len(text) for text in left]), strict=True):
        known.append(known[-1].following.setdefault(text, _Message(tokens)))
    last = known[-1]
    for text, tokens in zip(call.answer, _divide(call.reply, [len(text) for text in call.answer]), strict=True):
        last = last.following.setdefault(text, _Message(tokens))
    for message in known:
        if message.tokens and message.part is None:
            message.part = rows.new_part(message.tokens)
    return [message.part for message in known if message.part is not None]


def _divide(tokens: int, sizes: list[int]) -> list[int]:
    """So many tokens in proportion to the sizes; the sum is kept."""
    whole, sofar, ends = sum(sizes) or 1, 0, [0]
    for size in sizes:
        sofar += size
        ends.append(round(tokens * sofar / whole))
    if sizes:
        ends[-1] = tokens
    return [end - begin for begin, end in itertools.pairwise(ends)]


# ------------------------------------------------------------------------------------------------------- reading a span


def _is_span(entry: Any) -> bool:
    return "attributes" in entry and ("start_time" in entry or "startTimeUnixNano" in entry)


def _unpack(entry: Any) -> Iterator[Span]:
    if _is_span(entry):
        yield entry
    for resource in entry.get("resourceSpans", []):
        for scope in resource.get("scopeSpans", []):
            yield from scope.get("spans", [])


def _name_session(span: Span, attributes: dict[str, Any]) -> str:
    trace = span.get("trace_id") or span.get("traceId") or (span.get("context") or {}).get("trace_id")
    name = attributes.get("gen_ai.conversation.id") or trace
    if name is None:
        raise ValueError("a span has neither trace_id nor gen_ai.conversation.id")
    return str(name)


def _is_call(span: Span, attributes: dict[str, Any]) -> bool:
    status = span.get("status") or {}
    operation = attributes.get("gen_ai.operation.name")
    failed = isinstance(status, dict) and FAILED & {status.get("code"), status.get("status_code")}
    counted = _first(attributes, INPUT) is not None and _first(attributes, OUTPUT) is not None
    return not failed and counted and (operation in CALLS or operation not in OTHER_OPERATIONS)


def _read_call(span: Span, attributes: dict[str, Any]) -> Call:
    prompt = [_write_text(part) for part in _read_list(attributes.get("gen_ai.tool.definitions"))]
    instructions = _read_list(attributes.get("gen_ai.system_instructions"))
    prompt += [_write_message({"role": "system", "parts": instructions})] if instructions else []
    messages = _read_list(attributes.get("gen_ai.input.messages"))
    if not messages:
        raise ValueError("a call has no gen_ai.input.messages, so nobody knows what its prompt shares with others")
    start, end = _seconds(span, "start_time", "startTimeUnixNano"), _seconds(span, "end_time", "endTimeUnixNano")
    return Call(
        start=start,
        end=max(end, start),
        prompt=_count(attributes, INPUT),
        reply=_count(attributes, OUTPUT),
        messages=(*prompt, *map(_write_message, messages)),
        answer=tuple(map(_write_message, _read_list(attributes.get("gen_ai.output.messages")))),
    )


def _count(attributes: dict[str, Any], names: Iterable[str]) -> int:
    tokens = int(_first(attributes, names))
    if not 0 <= tokens <= MOST_TOKENS:
        raise ValueError(f"{tokens} tokens of a call")
    return max(tokens, 1)


def _first(attributes: dict[str, Any], names: Iterable[str]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def _seconds(span: Span, name: str, otlp_name: str) -> float:
    if otlp_name in span:
        return int(span[otlp_name]) / 1e9
    moment = datetime.fromisoformat(span[name].replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _read_attributes(found: Any) -> dict[str, Any]:
    """A span's attributes by name: an object, or OTLP's list of keys and values."""
    if isinstance(found, list):
        return {each["key"]: _read_value(each["value"]) for each in found}
    return found if isinstance(found, dict) else {}


def _read_value(value: dict[str, Any]) -> Any:
    """One of OTLP's values."""
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        return [_read_value(each) for each in content.get("values", [])]
    if kind == "kvlistValue":
        return _read_attributes(content.get("values", []))
    return int(content) if kind == "intValue" else content


def _read_list(value: Any) -> list[Any]:
    """A list, which may be written as JSON; empty if there is none."""
    found = json.loads(value) if isinstance(value, str) and value else value or []
    if not isinstance(found, list):
        raise TypeError(f"messages must be a list, not {type(found).__name__}")
    return found


def _write_message(message: dict[str, Any]) -> str:
    """The role and text of a message in either form, of parts or OpenAI's: equal ones are equal. Ids are left out."""
    parts = message.get("parts")
    content = parts if isinstance(parts, list) else message.get("content") or []
    texts = [content] if isinstance(content, str) else [_write_part(part) for part in content]
    texts += [_write_part(call) for call in message.get("tool_calls") or []]
    return f"{message.get('role')}: {''.join(texts)}"


def _write_part(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    function = part.get("function")
    call = function if isinstance(function, dict) else part
    if call.get("name") and call.get("arguments") is not None:
        arguments = call["arguments"]
        try:
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            pass
        return f"{call['name']}{_write_text(arguments)}"
    return _write_text(_first(part, ("content", "text", "result", "response")))


def _write_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
