r"""Answers to word problems as model families write them, with the number that each one means.

Every text is our own; the manner is that of the family: Qwen2.5 boxes its result, Llama 3 writes
"#### " and bold headings, DeepSeek-R1 thinks first, base models run on. ``None``: no number that
can be taken for the answer, or more than one.
"""

from dataclasses import dataclass

from snakesteer.engine.interface import Finish


@dataclass(frozen=True)
class Written:
    """A text and what it means.

    Attributes:
        text: The answer.
        number: What it says, in canonical form; None for no one number.
        finish: Why it ended.
        turns: The tokenizer's own marks.
        thinking: The kind of a think block that the prompt has opened.
    """

    text: str
    number: str | None
    finish: Finish = "eos"
    turns: tuple[str, ...] = ()
    thinking: str | None = None


QWEN_MATH = [
    Written(
        "To find the total, we add the pens.\n\n\\[ 7 + 11 = 18 \\]\n\n"
        "Thus, Ada has \\(\\boxed{18}\\) pens.",
        "18",
    ),
    Written("She can spend \\(\\boxed{42}\\) days eating 3 boxes.", "42"),
    Written("It takes \\boxed{5} hours to travel an additional 2000 miles.", "5"),
    Written("The total is $\\boxed{\\$1{,}080}$ for 12 months.", "1080"),
    Written("\\[\n\\boxed{18 \\text{ pens}}\n\\]", "18"),
    Written("Therefore, the answer is:\n\\[\n\\boxed{\\dfrac{9}{2}}\n\\]", "4.5"),
    Written("First guess: $\\boxed{7}$. But the 11 is missing, so $\\boxed{18}$.", "18"),
    Written("Each gets $\\boxed{4\\frac{1}{2}}$ apples of the 9 apples for 2 children.", "4.5"),
    Written("$\\boxed{x = 18}$", "18"),
    Written("$\\boxed{7 + 11 = 18}$ and $18 - 11 = 7$.", "18"),
    Written("The cost is $\\boxed{\\text{\\$18.50}}$.", "18.5"),
    Written("So $\\boxed{\\frac{\\frac{1}{2}}{\\frac{1}{4}}}$ cups, 3 spoons each.", "2"),
    Written("Her speed is \\boxed{18\\ \\text{km/h}} over 3 hours.", "18"),
    Written("The share is $\\boxed{25\\%}$ of 400.", "25"),
    Written("$\\boxed{\\mathbf{18}}$ is what 6 boxes of 3 hold.", "18"),
    Written("\\boxed{\\boxed{18}} pens in 6 boxes", "18"),
    Written("The answer is $\\boxed{1\\,080}$, which is 12 times 90.", "1080"),
    Written(
        "Put the answer in \\boxed{}. It is 7 + 11 = 18, so \\boxed{18}. Put it in \\boxed{}.", "18"
    ),
    Written("\\boxed{16-18}", None),
    Written("\\boxed{18, 20}", None),
    Written("\\boxed{3:30}", None),
    Written("We have \\boxed{\\left(7 + 11\\right)} pens from 2 shops.", "18"),
    Written("$\\boxed{-5}$ degrees, 12 below the 7 of the morning", "-5"),
    Written("so \\boxed{1.8 \\times 10^{3}} grams in 2 bags", "1800"),
    Written("\\boxed{18 \\mathrm{~cm}^2} with sides 3 and 6", "18"),
    Written("\\boxed{20-2} pens on 3 desks", "18"),
    Written("\\boxed{\\sqrt{324}} tiles, 2 sides", "18"),
    Written("The result is \\boxed{18", "18"),
    Written("7 + 11 = 18, so the result is \\boxed{1", None, "length"),
]

QWEN_CHAT = [
    Written(
        "Ada has 7 + 11 = <<7+11=18>>18 pens.\n#### 18<|im_end|>\n<|im_start|>user\nBo has 5", "18"
    ),
    Written("7 + 11 = 18<|im_end|>\n<|im_start|>user\nBo has 5 pens.<|im_end|>", "18"),
    Written("<|im_start|>assistant\nAda has 18 pens.<|im_end|>\n<|endoftext|>5", "18"),
    Written("The answer is **18**.\n\nTo check: 18 - 11 = 7.", "18"),
    Written("答案是18。检查：18-11=7。", "18"),
    Written("最终答案：１８", "18"),
    Written(
        "Total: 7 + 11 = 18 pens\n\n### Conclusion\nAda has **18 pens** now, in 2 boxes.", "18"
    ),
    Written("### Final Answer\n\n18 pens\n\n(11 more than 7.)", "18"),
]

QWEN3 = [
    Written("<think>\n3 + 4 is 7. #### 7? No, the 11.\n</think>\n\nHe has 18.\n#### 18", "18"),
    Written("<think>\n\n</think>\n\nAda has 7 + 11 = **18** pens.", "18"),
    Written("<think>\n7 + 11, the answer is 18. Let me check the 11 again", None, "length"),
    Written("<think>\nSo \\boxed{18}. Wait, is it? 18 - 11 = 7", None),
    Written("7 + 11 ... the answer is 12? No.\n</think>\n\n**Answer:** 18", "18"),
    Written("The answer is 12. Hmm, let me see 7", None, "length", thinking="think"),
    Written(
        "Question: what is asked? 7 + 11 = 18, the total.\n</think>\nShe has 18.",
        "18",
        thinking="think",
    ),
    Written("<think>7</think>Not yet. <think>7 + 11 = 18</think>\\boxed{18} pens of 2 kinds", "18"),
    Written("<think>a</think>\n18<|im_end|>\n<|im_start|>assistant\n<think>5</think>\n5", "18"),
    Written("<think>a <think> b 5 </think> The answer is 18.", "18"),
    Written("The answer is 18.\n<think>Is it 7?", "18"),
    Written("He has 7 pens. <think>7 + 11 = 18", None),
    Written("<Thinking>7 + 11 = 12</Thinking>\n18", "18"),
]

DEEPSEEK_R1 = [
    Written(
        "<think>\nOkay, 7 and 11. That's 18. Wait, 17? No.\n</think>\n\n"
        "**Solution:**\n\n1. Start with 7.\n2. Add 11.\n\n\\[\n7 + 11 = \\boxed{18}\n"
        "\\]",
        "18",
    ),
    Written(
        "Okay, so 7 and then 11.\n</think>\n\n"
        "Ada has \\(\\boxed{18}\\) pens in 2 boxes.<｜end▁of▁sentence｜>",
        "18",
    ),
    Written("</think>\n\n**Final Answer:** \\(\\boxed{18}\\) pens per 2 boxes", "18"),
    Written("18 pens<｜end▁of▁sentence｜><｜User｜>Bo has 5<｜Assistant｜>", "18"),
    Written(
        "<|begin_of_thought|>\n\n7 + 11 = 17?\n\n<|end_of_thought|>\n\n"
        "<|begin_of_solution|>\n\nIt is 18.\n\n<|end_of_solution|>",
        "18",
    ),
    Written("<|begin_of_thought|>\n\nThe answer is 18. Hmm, 7", None, "length"),
    Written("<reasoning>\n7 + 11 = 18\n</reasoning>\n<answer>\n18\n</answer>", "18"),
    Written("<reasoning>\nThe answer is 18, if 7", None),
    Written("[THINK]7 or 11?[/THINK]The answer is $18$.", "18"),
    Written("<thought>\n12?\n</thought>\n\nThe final answer is $\\boxed{18}$. 12 was wrong.", "18"),
    Written("<|START_THINKING|>7<|END_THINKING|><|START_RESPONSE|>18 pens<|END_RESPONSE|>", "18"),
    Written("<think>The tag <analysis>7</analysis> says 7. The answer is 7", None),
]

LLAMA3 = [
    Written(
        "Ada starts with 7 pens.\nShe gets 11 more, so 7 + 11 = 18.\n"
        "The final answer is: $\\boxed{18}$",
        "18",
    ),
    Written(
        "## Step 1: Count the pens\n7 + 11 = 18\n\n## Step 2: Check\n18 - 11 = 7\n\n"
        "The final answer is: 18",
        "18",
    ),
    Written(
        "The answer is 18 pens.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBo has 5", "18"
    ),
    Written("7 + 11 = 18<|eot_id|>5", "18"),
    Written("The final answer is $18.\n\nLet me know if you need 2 more examples!", "18"),
    Written("So, Ada makes $9 x 2 = $18 every day at the market.\n\nThe answer is $18.", "18"),
    Written("The final answer is 1,080 dollars. That is 12 x 90.", "1080"),
    Written("The answer is 26. Wait, that's wrong. The answer is 18.", "18"),
    Written("Therefore, 18 is the correct answer, as 18 - 11 = 7.", "18"),
    Written("I think 18 pens is the answer. (7 + 11)", "18"),
    Written("The answer is that Ada has 18 pens in her 2 boxes.", "18"),
    Written("The answer to how many pens Ada has is 18. She had 7.", "18"),
    Written("The answer is found by adding 7 and 11. This gives 18.", "18"),
    Written("The answer isn't 12 but 18", "18"),
    Written("#### Step 1: Count\n3 + 4 = 7\n\n#### Step 2: Add\n7 + 11 = 18", "18"),
    Written("#### 1) Pens\n3 + 4 = 7\n#### 2) All\n7 + 11 = 18\n\n#### Answer: 18 pens", "18"),
    Written(
        "#### **1. Pens**\n7 + 11 = 18\n#### **2. Check**\n18 - 11 = 7\n\nThe total is **18**.",
        "18",
    ),
    Written("#### 18. That is 7 and 11.", "18"),
    Written("#### Total = 7 + 11 = 18 pens", "18"),
    Written("#### $ 18", "18"),
    Written("#### 26\nWait, 8 too many.\n#### 18", "18"),
    Written("The answer is 7 so far.\n#### 18", "18"),
    Written("#### Total: 18 pens, 9 per box", "18"),
    Written("**Step 1: Count**\n3 + 4 = 7\n**Step 2: Add**\n7 + 11 = 18", "18"),
    Written("**7** pens and 11 more are **18**, in 2 boxes.", "18"),
    Written("The answer is 3 boxes × 6 pens = **18** pens", "18"),
    Written("#### 3 boxes × 6 pens = 18 pens", "18"),
    Written("The answer is $7$ + $11$ = $18$, in $2$ boxes.", "18"),
    Written("$\\boxed{3 \\text{ boxes} \\times 6 = 18}$", "18"),
]

GEMMA = [
    Written(
        "Here's how to solve it:\n\n* **Start:** Ada has 7 pens.\n"
        "* **Gift:** She gets 11 pens.\n* **Total:** 7 + 11 = 18 pens\n\n"
        "**Answer:** Ada has 18 pens.",
        "18",
    ),
    Written("7 + 11 = 18<end_of_turn>\n<start_of_turn>user\nBo has 5", "18"),
    Written("**Answer: 18**\n\nCheck: 7 + 11 = 18, and 18 - 11 = 7.", "18"),
    Written("So the answer is: **18**. (11 of them are new.)", "18"),
    Written("* Pens: 7 + 11 = **18 pens**\n* Boxes: not asked for, but 2 are needed", "18"),
    Written("1️⃣ Ada has 7.\n2️⃣ She gets 11.\n✅ Total: 18 pens 3️⃣", "18"),
    Written(
        "Let $x$ be the pens. $x = 7 + 11 = 18$.\n\n"
        "Final Answer: The final answer is $\\boxed{18}$",
        "18",
    ),
    Written("Answer: $18 \\text{ pens}$ (from $2$ boxes)", "18"),
    Written("<eos>", None),
    Written(
        "<|channel>thought\n7 + 11 = 12?\n<channel|>The answer is 18.<turn|>\n<|turn>user\n5", "18"
    ),
]

MISTRAL = [
    Written("Ada has 7 + 11 = 18 pens.</s>[INST] Bo has 5 pens. [/INST]", "18"),
    Written("[/INST] Ada has 18 pens.</s>", "18"),
    Written(
        "To find it, we add: 7 + 11 = 18. So, the answer is 18 pens in total, 9 per box.", "18"
    ),
    Written("Answer: A total of 18 pens.", "18"),
    Written("Answer: A total of 18 pens.\n\nExplanation: 7 + 11 = 18, and 18 - 7 = 11", "18"),
    Written("Answer: Ada has 7 pens. She gets 11. That is 18", "18"),
    Written("Answer: 3 + 4 = 7 pens. 7 + 11 = 18 pens.", "18"),
    Written("Answer: 3 boxes of 6 pens are 18", "18"),
    Written("Ans: 18 (7 + 11)", "18"),
    Written("The answer is $7 + $11 = $18, not $4.", "18"),
    Written("The answer is $5 + $6 which is $11.", "11"),
    Written("The answer is 18 pens + 2 pencils", "18"),
]

PHI = [
    Written("Solution:\n\n7 + 11 = 18\n\nAnswer: 18<|end|><|user|>Bo has 5 pens<|end|>", "18"),
    Written("**Problem:** Ada has 7 pens and gets 11.\n7 + 11 = 18\n#### 18", "18"),
    Written(
        "**Problem:** Ada has 7 pens.\n**Question:** How many with 11 more?\n7 + 11 = 18", "18"
    ),
    Written("**Problem:** Ada has 7.\n#### 18\n\n**Problem 2:** Bo has 5.\n#### 5", "18"),
    Written("Question: Ada has 7 pens and gets 11. How many?\nAnswer: 7 + 11 = 18\n#### 18", "18"),
    Written("Step 1: Read.\nProblem: Ada has 7 pens and gets 11.\nStep 2: 7 + 11 = 18", "18"),
    Written("Given:\n- 7 pens\n- 11 more\n\nQuestion: how many?\n\nSolution: 7 + 11 = 18", "18"),
    Written("7 + 11 = 18\n\nInstruction: Bo has 5 pens. Answer: 5", "18"),
    Written("Ada has 18 pens.\n\n### User: Bo has 5", "18"),
    Written("Answer\n18", "18"),
    Written("Final answer (in dollars): 18. Paid over 3 days.", "18"),
    Written("The answer = 18", "18"),
]

OLMO_TULU = [
    Written("7 + 11 = <<7+11=18>>18\nSo the answer is $\\boxed{18}$.<|endoftext|>", "18"),
    Written("So the answer is 18.\n<|user|>\nBo has 5\n<|assistant|>\nSo the answer is 5.", "18"),
    Written("The total number of pens is 7 + 11 = 18.", "18"),
    Written("The answer is 18 = 7 + 11.", "18"),
    Written("In total, $7 \\times 2 + 4 = 18$. The answer is therefore $7 \\times 2 + 4$.", "18"),
    Written("The answer is 3 1/2.", "3.5"),
    Written("The answer is 3½ hours.", "3.5"),
    Written("The answer is 3 and a half hours.", "3.5"),
    Written("It is 3/4.", "0.75"),
    Written("The answer is 1/3", "1/3"),
]

SMOLLM = [
    Written("4*7 = 28 pens.\n#### 28", "28"),
    Written("#### 7 + 11 = 18", "18"),
    Written("#### 18\n#### 18\n#### 18", "18"),
    Written("#### 3/4", "0.75"),
    Written("#### 3:30", None),
    Written("#### 3:30 PM", None),
    Written("#### 16-18", None),
    Written("#### $16-$18", None),
    Written("#### 16 to 18", None),
    Written("#### 16–18 days", None),
    Written("#### 18 or 20", None),
    Written("#### 1,00,000", "100000"),
    Written("#### 1\u00a0080", "1080"),
    Written("#### 1\u202f080", "1080"),
    Written("#### 1\u2009080 pens", "1080"),
    Written("#### 1'080", "1080"),
    Written("#### 12,34,567 rupees", "1234567"),
    Written("#### 1.5 million", "1500000"),
    Written("#### 18k", "18000"),
    Written("#### -$5", "-5"),
    Written("#### −5", "-5"),
    Written("#### 50%", "50"),
    Written("#### 1.8e3", "1800"),
    Written("#### 18 pens in 6 boxes", "18"),
    Written("#### € 18,000.50", "18000.5"),
    Written("7 + 11 = 18\n####", "18"),
    Written("####\n18", "18"),
    Written("12*7 = 84 pens. 12*15 = 18", None, "length"),
    Written("12*7 = 84 pens.\n#### 84", "84", "length"),
]

BASE = [
    Written("18\n\nQuestion: Ben has 5 pens and 7 books. How many?\nAnswer: 12\n#### 12", "18"),
    Written(" 7 + 11 = 18. The answer is 18.\n\nQ: Bo has 5. How many?\nA: The answer is 5.", "18"),
    Written("18 pens\n\nProblem: Tom has 9 pens.\n\nSolution: 9", "18"),
    Written("It is 18.\n\nExercise 2: Ben has 5", "18"),
    Written("She has 18 pens (7 + 11).", "18"),
    Written("so it is -3 now", "-3"),
    Written("The area is 18 m^2", "18"),
    Written("18 pens.\n\nQuestion: Ben has 5", "18", "length"),
    Written("no number at all", None),
    Written("It takes 16-18 days.", None),
    Written("He comes at 3:30.", None),
    Written("7 plus 11 equals 18", "18"),
    Written("The answer is 9 times 2", "18"),
    Written("18 <|own_end|> 5", "18"),
    Written("18 ~END~ Bo has 5", "18", turns=("~END~",)),
    Written("~BEGIN~ 18", "18", turns=("~BEGIN~",)),
]

GPT_OSS = [
    Written(
        "<|channel|>analysis<|message|>7 + 11 = 12? The answer is 12.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>The answer is **18**.<|return|>",
        "18",
    ),
    Written("<|channel|>analysis<|message|>7 + 11, the answer is 18", None, "length"),
    Written("<|channel|>final<|message|>18<|return|>", "18"),
    Written("analysisWe add 7 and 11: 12.assistantfinal18 pens", "18"),
    Written("analysisWe add 7 and 11: the answer is 18", None),
    Written(
        "<|channel|>analysis<|message|>7<|end|><|start|>assistant<|channel|>"
        "commentary<|message|>5<|end|><|start|>assistant<|channel|>"
        "final<|message|>\\(\\boxed{18}\\), as 2 · 9 = 18<|return|>",
        "18",
    ),
]

FAMILIES = {
    "Qwen2.5-Math": QWEN_MATH,
    "Qwen2.5-Instruct": QWEN_CHAT,
    "Qwen3, thinking": QWEN3,
    "DeepSeek-R1 and other thinkers": DEEPSEEK_R1,
    "Llama 3": LLAMA3,
    "Gemma 2 to 4": GEMMA,
    "Mistral": MISTRAL,
    "Phi-3 and 4": PHI,
    "OLMo and Tulu": OLMO_TULU,
    "SmolLM2": SMOLLM,
    "base models": BASE,
    "gpt-oss": GPT_OSS,
}
