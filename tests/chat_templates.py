"""Chat templates in the shapes of real models' ones, and broken ones; all written for the tests."""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# A system message of its own where none is given.
QWEN_2 = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n"
    "{% endif %}" + CHATML
)
# An old reply's thoughts are cut off, the last reply has a think block, empty or not; thinking can
# be switched off.
QWEN_3 = """\
{%- set ns = namespace(query=0) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.query = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for m in messages -%}
  {{- '<|im_start|>' + m.role + '\\n' -}}
  {%- set content = m.content if m.content is string else '' -%}
  {%- if m.role == 'assistant' -%}
    {%- set thoughts = content.split('</think>')[0].split('<think>')[-1].strip('\\n')
          if '</think>' in content else '' -%}
    {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
    {%- if loop.index0 > ns.query -%}
      {{- '<think>\\n' + thoughts + '\\n</think>\\n\\n' -}}
    {%- endif -%}
  {%- endif -%}
  {{- content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n' -}}
  {%- if enable_thinking is defined and enable_thinking is false -%}
    {{- '<think>\\n\\n</think>\\n\\n' -}}
  {%- endif -%}
{%- endif -%}
"""
# Thinking is opened by the prompt and taken out of what was said.
DEEPSEEK_R1 = """\
{{- bos_token -}}
{%- for m in messages if m.role == 'system' -%}{{- m.content -}}{%- endfor -%}
{%- for m in messages -%}
  {%- if m.role == 'user' -%}{{- '<User>' + m.content -}}
  {%- elif m.role == 'assistant' -%}
    {{- '<Assistant>' + m.content.split('</think>')[-1] + '</s>' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<Assistant><think>\\n' -}}{%- endif -%}
"""
# The last reply is written into the block that the prompt opens.
NEMOTRON = """\
{{- 'System\\n' + (messages[0].content if messages[0].role == 'system' else '') + '\\n\\n' -}}
{%- for m in messages if m.role != 'system' -%}
  {%- if m.role == 'user' -%}{{- 'User\\n' + m.content + '\\n' -}}
  {%- else -%}
    {{- 'Assistant\\n' + ('<think>\\n\\n' if loop.last else '') + m.content + '\\n<end>\\n\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Assistant\\n<think>\\n\\n' -}}{%- endif -%}
"""
# An empty block without lines, behind a line end that the prompt lacks.
GLM = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n"
    "{{ '<think></think>\n' if m.role == 'assistant' else '' }}"
    "{{ m.content.split('</think>')[-1].strip() }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{{ '\n<think></think>' if enable_thinking is defined and not enable_thinking else '' }}"
    "{% endif %}"
)
# A switch of another name; the block is one mark wide, open or closed.
DEEPSEEK_V3 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<User>{{ m.content }}"
    "{% elif m.role == 'assistant' %}<Assistant></think>{{ m.content }}</s>"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<Assistant>"
    "{{ '<think>' if thinking is defined and thinking else '</think>' }}{% endif %}"
)
# A date, trimmed contents, parts if need be.
LLAMA_3 = """\
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}
  {%- set system = messages[0].content | trim -%}{%- set messages = messages[1:] -%}
{%- else -%}{%- set system = '' -%}{%- endif -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + strftime_now('%d %b %Y') -}}
{{- '\\n\\n' + system + '<|eot_id|>' -}}
{%- for m in messages -%}
  {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' -}}
  {%- if m.content is string -%}{{- m.content | trim -}}
  {%- else -%}{%- for part in m.content -%}{{- part.text | trim -}}{%- endfor -%}{%- endif -%}
  {{- '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""
_GEMMA_TURNS = """\
{%- for m in messages -%}
  {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('Conversation roles must alternate') -}}
  {%- endif -%}
  {{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' -}}
  {{- (first if loop.first else '') -}}
  {%- if m.content is string -%}{{- m.content | trim -}}
  {%- else -%}{%- for part in m.content -%}{{- part.text | trim -}}{%- endfor -%}{%- endif -%}
  {{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""
GEMMA_2 = (
    "{{ bos_token }}{%- if messages[0].role == 'system' -%}"
    "{{ raise_exception('System role not supported') }}{%- endif -%}{%- set first = '' -%}"
    + _GEMMA_TURNS
)
GEMMA_3 = (
    """\
{{- bos_token -}}
{%- set first = '' -%}
{%- if messages[0].role == 'system' -%}
  {%- if messages[0].content is string -%}{%- set first = messages[0].content + '\\n\\n' -%}
  {%- else -%}{%- set first = messages[0].content[0].text + '\\n\\n' -%}{%- endif -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
"""
    + _GEMMA_TURNS
)
# Brackets with blanks, and the system text at the last question.
MISTRAL = """\
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}
  {%- set system = messages[0].content + '\\n\\n' -%}{%- set messages = messages[1:] -%}
{%- else -%}{%- set system = '' -%}{%- endif -%}
{%- for m in messages -%}
  {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('roles must alternate user and assistant') -}}
  {%- endif -%}
  {%- if m.role == 'user' -%}
    {{- '[INST] ' + (system if loop.last else '') + m.content + '[/INST]' -}}
  {%- else -%}{{- ' ' + m.content + eos_token -}}{%- endif -%}
{%- endfor -%}
"""
MISTRAL_1 = """\
{{- bos_token -}}
{%- for m in messages -%}
  {%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('Conversation roles must alternate user/assistant') -}}
  {%- endif -%}
  {{- '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else ' ' + m.content + eos_token -}}
{%- endfor -%}
"""
PHI_3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
# A reply names its channel.
GPT_OSS = (
    "{% for m in messages %}<|start|>{{ m.role }}"
    "{{ '<|channel|>final' if m.role == 'assistant' else '' }}<|message|>{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
# Contents are lists of parts, and a text has none.
VISION = (
    "{% for m in messages %}<|{{ m.role }}|>{% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% elif part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}<end>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ESCAPING = CHATML.replace("m.content", "m.content | e")
NO_GENERATION_PROMPT = CHATML.partition("{% if add")[0]

HONEST = {
    "chatml": CHATML,
    "qwen 2": QWEN_2,
    "qwen 3": QWEN_3,
    "deepseek r1": DEEPSEEK_R1,
    "deepseek v3": DEEPSEEK_V3,
    "nemotron": NEMOTRON,
    "glm": GLM,
    "llama 3": LLAMA_3,
    "gemma 2": GEMMA_2,
    "gemma 3": GEMMA_3,
    "mistral": MISTRAL,
    "mistral 1": MISTRAL_1,
    "phi 3": PHI_3,
    "gpt-oss": GPT_OSS,
    "vision": VISION,
    "escaping": ESCAPING,
    "no generation prompt": NO_GENERATION_PROMPT,
}
TAKE_NO_SYSTEM = {"gemma 2", "mistral 1"}

DROPS_SYSTEM = CHATML.replace("messages %}", "messages if m.role != 'system' %}")
DROPS_QUESTIONS = "{% for m in messages %}{{ m.role }}: {{ m.text }}\n{% endfor %}assistant:"
DROPS_EXAMPLES = (
    "{% for m in messages %}{% if loop.last or m.role == 'system' %}<|{{ m.role }}|>"
    "{{ m.content }}\n{% endif %}{% endfor %}<|assistant|>"
)
DROPS_REPLIES = CHATML.replace("messages %}", "messages if m.role != 'assistant' %}")
WANTS_A_QUESTION_LAST = (
    "{% if messages[-1].role != 'user' %}{{ raise_exception('ask something') }}{% endif %}" + CHATML
)
# What each raises, and a word of it.
FAILING = {
    "TypeError": ("{{ messages[0].content + 1 }}", "TypeError"),
    "UndefinedError": ("{{ messages[0].contents.text }}", "UndefinedError"),
    "ZeroDivisionError": ("{{ 1 // 0 }}", "ZeroDivisionError"),
    "KeyError": ("{{ '{a}'.format(b=1) }}", "KeyError"),
    "ValueError": ("{{ messages[0].content.index('§') }}", "ValueError"),
    "TemplateSyntaxError": ("{% for m in %}", "TemplateSyntaxError"),
    "its own": ("{{ raise_exception('not like this') }}", "not like this"),
}
