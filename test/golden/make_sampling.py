"""Writes test/golden/sampling/: what Hugging Face's transformers leaves of scores, and what it makes of conversations.

    python3 -m pip install torch transformers jinja2
    python3 test/golden/make_sampling.py test/golden/sampling

filters.json: probabilities after the logits processors that `generate` builds from its options, in its order.
chats.json: texts of `apply_chat_template` by five templates, written here in the styles that are common, and what they refuse.
"""

import json
import sys
from pathlib import Path

import jinja2
import torch
import transformers
from transformers import GenerationConfig
from transformers.generation import logits_process
from transformers.utils.chat_template_utils import render_jinja_template

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
versions = {"torch": torch.__version__, "transformers": transformers.__version__, "jinja2": jinja2.__version__}


def write(name, cases):
    (folder / name).write_text(json.dumps({"versions": versions, "cases": cases}, separators=(",", ":"), ensure_ascii=False) + "\n")


def processors(options):
    """The order is that of GenerationMixin._get_logits_processor."""
    made = logits_process.LogitsProcessorList()
    if options.get("repetitionPenalty", 1) != 1:
        made.append(logits_process.RepetitionPenaltyLogitsProcessor(float(options["repetitionPenalty"])))
    if options.get("temperature", 1) != 1:
        made.append(logits_process.TemperatureLogitsWarper(float(options["temperature"])))
    if "topK" in options:
        made.append(logits_process.TopKLogitsWarper(options["topK"]))
    if options.get("topP", 1) < 1:
        made.append(logits_process.TopPLogitsWarper(float(options["topP"])))
    if "minP" in options:
        made.append(logits_process.MinPLogitsWarper(float(options["minP"])))
    return made


generator = torch.Generator().manual_seed(1)
filters = []
for i, options in enumerate(
    [
        {"repetitionPenalty": 1.3},
        {"repetitionPenalty": 0.7, "temperature": 0.8},
        {"temperature": 0.6},
        {"topK": 5},
        {"topP": 0.9},
        {"topP": 0.05},
        {"minP": 0.1},
        {"minP": 1.0},
        {"temperature": 1.5, "topK": 12, "topP": 0.8},
        {"temperature": 0.7, "topP": 0.95, "minP": 0.02},
        {"repetitionPenalty": 1.2, "temperature": 0.9, "topK": 20, "topP": 0.85, "minP": 0.05},
        {"repetitionPenalty": 2.0, "temperature": 2.0, "topK": 24, "topP": 0.99, "minP": 0.15},
    ]
):
    logits = (torch.randn(24, generator=generator, dtype=torch.float64) * 2).round(decimals=3)
    seen = torch.randint(0, 24, (7,), generator=generator)
    left = processors(options)(seen[None], logits[None].clone())[0].softmax(-1)
    filters.append(
        {"options": options, "logits": logits.tolist(), "seen": seen.tolist(), "probabilities": [float(f"{p:.12g}") for p in left.tolist()]}
    )
write("filters.json", filters)

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + "}<|eot_id|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + (message["content"] or "") | trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
QWEN = """{%- macro begin(role) -%}<|im_start|>{{ role }}
{% endmacro -%}
{%- if tools %}
    {{- begin('system') }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}
    {{- begin('system') + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == "user" and message.content is string and ns.last == messages|length - 1 %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- begin(message.role) + message.content + '<|im_end|>\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content if message.content is string else '' %}
        {%- if '</think>' in content and loop.index0 < ns.last %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- begin('assistant') + content }}
        {%- for call in message.tool_calls or [] %}
            {{- '\n<tool_call>\n{"name": "' ~ call.function.name ~ '", "arguments": ' ~ call.function.arguments | tojson ~ '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' ~ message.content ~ '\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- begin('assistant') }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""
templates = {"ChatML": CHATML, "Llama 3": LLAMA3, "Mistral": MISTRAL, "Zephyr": ZEPHYR, "Qwen": QWEN}

user, again = {"role": "user", "content": "  What is 2 + 2? é😀\n"}, {"role": "user", "content": "And <b>\"3 & 3\"</b>?"}
answer = {"role": "assistant", "content": " <think>\nadd\n</think>\n\nIt is 4."}
system = {"role": "system", "content": "Be brief.\n"}
tools = [{"type": "function", "function": {"name": "add", "description": "Adds: é <&>", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}]
called = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": [True, None, 0.5]}}}]}
result = {"role": "tool", "content": "4"}
chats = [
    {"messages": [user]},
    {"messages": [system, user], "generate": True},
    {"messages": [system, user, answer, again], "generate": True},
    {"messages": [user, answer]},
    {"messages": [user, called, result, result, answer, again], "generate": True, "tools": tools},
    {"messages": [user, again]},
    {"messages": [user], "generate": True, "variables": {"enable_thinking": False}},
]
cases = []
for name, template in templates.items():
    for chat in chats:
        case = {"style": name, "template": template, **chat}
        try:
            # As `apply_chat_template` hands them on: fields of None are dropped.
            messages = [{key: value for key, value in message.items() if value is not None} for message in chat["messages"]]
            texts, _ = render_jinja_template(
                [messages],
                tools=chat.get("tools"),
                chat_template=template,
                add_generation_prompt=chat.get("generate", False),
                bos_token="<s>",
                eos_token="</s>",
                **chat.get("variables", {}),
            )
            case["text"] = texts[0]
        except jinja2.exceptions.TemplateError as error:
            if isinstance(error, jinja2.exceptions.UndefinedError):
                continue  # a message that the template did not expect, which each engine tells in its own words
            case["error"] = error.message
        cases.append(case)
# Templates are kept once.
write("chats.json", [{**{k: v for k, v in case.items() if k != "template"}} for case in cases])
(folder / "templates.json").write_text(json.dumps(templates, ensure_ascii=False) + "\n")
