#!/usr/bin/env python3
"""Writes chat_template_cases.json: what Jinja2 itself makes of our cases; and
from the same sources the seeds in ../fuzz/chat_template_corpus.

  pip install jinja2==3.1.6 && python3 make_chat_template_cases.py

The environment is the one that the transformers library renders chat templates
in. Templates are chat_templates/*.jinja, written in the manner of the model
families that name them. Each is rendered for each conversation below, and each
expression of chat_template_expressions.txt on its own.
"""

import datetime
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
# Unix time 1721995445; globals_test.cc and the replay set the same clock.
NOW = datetime.datetime(2024, 7, 26, 12, 4, 5)


class Raised(Exception):
    """What a template's raise_exception ends in."""


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}, which rendering passes through."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_pass_through")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(lineno)

    def _pass_through(self, caller):
        return caller()


def raise_exception(message):
    raise Raised(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None,
           sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent,
                      separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True,
        extensions=[GenerationTag, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a place, \"now\" & here.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "a city <name>"},
                "days": {"type": "integer", "description": "  how many "},
                "units": {"type": ["string", "null"], "enum": ["°C", "°F"]},
                "precision": {"type": "number"},
            },
            "required": ["place"],
        },
        "return": {"type": "object",
                   "additionalProperties": {"type": "number"}},
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time.",
                 "parameters": {"type": "object", "properties": {}}},
}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, call_id="abcdef123"):
    return {"id": call_id, "type": "function",
            "function": {"name": name, "arguments": arguments}}


ONE = [say("user", "What is 2+2?")]
TALK = [say("system", "  You are terse.\n"), say("user", " Hi \n"),
        say("assistant", "\nHello.  "), say("user", "Bye")]
UNICODE = [say("system", "Sei höflich. 你好 🙂"), say("user", "naïve café\u00a0"),
           say("assistant", "<think>\nhm…\n</think>\n\nÇa va 🎉"),
           say("user", "ß İ ŉ \u2028 end")]
TOOL_TALK = [
    say("user", "Weather in Paris?"),
    say("assistant", None,
        tool_calls=[call("get_weather", {"place": "Paris", "days": 2,
                                         "precision": 0.5, "deep": [{}, []]})]),
    say("tool", "{\"temperature\": 21.5}", tool_call_id="abcdef123"),
    say("assistant", "It is 21.5 °C.\n"),
    say("user", "And in Zürich?"),
]
TWO_TOOLS = TOOL_TALK[:1] + [
    say("assistant", "Let me see.",
        tool_calls=[call("get_weather", {"place": "Zürich"}, "aaaaaaaa1"),
                    call("clock", {}, "aaaaaaaa2")]),
    say("tool", "12 °C", tool_call_id="aaaaaaaa1"),
    say("tool", "noon", tool_call_id="aaaaaaaa2"),
]
PARTS = [say("user", [{"type": "text", "text": " look "}, {"type": "image"}])]

BASE = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
        "date_string": "26 Jul 2024"}
CONVERSATIONS = {
    "one": {**BASE, "messages": ONE},
    "one_without_prompt": {**BASE, "messages": ONE,
                           "add_generation_prompt": False},
    "talk": {**BASE, "messages": TALK},
    "talk_no_thinking": {**BASE, "messages": TALK, "enable_thinking": False,
                         "model_name": "Tiny"},
    "empty": {**BASE, "messages": []},
    "empty_content": {**BASE, "messages": [say("system", ""), say("user", "")]},
    "unicode": {**BASE, "messages": UNICODE},
    "answered": {**BASE, "messages": UNICODE[1:3],
                 "add_generation_prompt": False},
    "think_mode": {**BASE, "messages": [say("system", "Short. /no_think ")]
                   + TALK[1:]},
    "two_users": {**BASE, "messages": ONE + ONE},
    "assistant_first": {**BASE, "messages": [say("assistant", "Hello")]},
    "tools": {**BASE, "messages": TOOL_TALK, "tools": [WEATHER, CLOCK]},
    "tools_in_system": {**BASE, "messages": TALK[:1] + TOOL_TALK,
                        "tools": [CLOCK], "tools_in_user_message": False,
                        "builtin_tools": ["code_interpreter", "get_weather"]},
    "two_tools": {**BASE, "messages": TWO_TOOLS, "tools": [WEATHER]},
    "parts": {**BASE, "messages": PARTS},
    "no_messages": {"add_generation_prompt": True},
}

EXPRESSION_VARIABLES = {
    "s": "Hello World", "empty": "", "u": "Grüße 你好 🙂", "n": 7, "f": 2.5,
    "big": 9007199254740993, "yes": True, "no": False, "nil": None,
    "xs": [3, 1, 2], "words": ["b", "A", "c", "a"], "none_list": [],
    "d": {"b": 1, "a": {"x": [1, 2.0, None]}, "items": "shadowed"},
    "users": [{"name": "Bo", "age": 3, "tag": {"k": "x"}},
              {"name": "al", "age": 1, "tag": {"k": "y"}},
              {"name": "Cy", "age": 2}],
    "lines": "one\ntwo\n\nthree\n", "html": "<b>&\"'</b>",
}


def render(env, source, variables):
    try:
        return {"expected": env.from_string(source).render(**variables)}
    except Raised as error:
        return {"raised": str(error)}
    except (TemplateError, TypeError, ValueError, AttributeError, LookupError,
            ZeroDivisionError, OverflowError, SyntaxError) as error:
        return {"fails": f"{type(error).__name__}: {error}"}


def read_expressions():
    """One source a line; ⏎ and ⇥ stand for a line end and a tab."""
    text = (HERE / "chat_template_expressions.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines()
             if line and not line.startswith("//")]
    return [line.replace("⏎", "\n").replace("⇥", "\t") for line in lines]


def write_corpus(templates, expressions):
    """Seeds for chat_template_fuzz.cc: JSON variables, a zero byte, a source.

    Expressions that render go ten to a file, else the first error would hide
    the rest; of those that fail a fuzzer finds enough by itself.
    """
    folder = HERE.parent / "fuzz/chat_template_corpus"
    sources = [e["source"] for e in expressions if "expected" in e]
    seeds = {f"expressions_{i // 10:02}": (EXPRESSION_VARIABLES,
                                           "\n".join(sources[i:i + 10]))
             for i in range(0, len(sources), 10)}
    for name, source in templates.items():
        conversation = "two_tools" if "tools" in source else "unicode"
        seeds[f"template_{name}"] = (CONVERSATIONS[conversation], source)
    for name, (variables, source) in seeds.items():
        text = json.dumps(variables, ensure_ascii=False) + "\0" + source
        (folder / name).write_text(text, encoding="utf-8")


def main():
    env = environment()
    templates = {path.stem: path.read_text(encoding="utf-8")
                 for path in sorted((HERE / "chat_templates").glob("*.jinja"))}
    renderings = [
        {"template": template, "conversation": conversation,
         **render(env, source, variables)}
        for template, source in templates.items()
        for conversation, variables in CONVERSATIONS.items()]
    expressions = [{"source": source,
                    **render(env, source, EXPRESSION_VARIABLES)}
                   for source in read_expressions()]
    cases = {"jinja2": jinja2.__version__, "templates": templates,
             "conversations": CONVERSATIONS, "renderings": renderings,
             "expression_variables": EXPRESSION_VARIABLES,
             "expressions": expressions}
    (HERE / "chat_template_cases.json").write_text(
        json.dumps(cases, ensure_ascii=False, indent=1) + "\n",
        encoding="utf-8")
    write_corpus(templates, expressions)


if __name__ == "__main__":
    main()
