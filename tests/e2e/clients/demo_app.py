"""The demo: a small support assistant that does what such programs do, with an invented customer.

Enters: a customer's mail and a colleague's log excerpt, both invented (fakes.py). Leaves: calls to two vendors, made with
their own clients and nothing else: no agent, no wrapper, no setting. What goes wrong in it is ordinary:

- personal data and credentials travel in the prompt,
- the models are asked for by names that can change (`gpt-4o`, `claude-sonnet-4-5`),
- one stream does not say what it cost.
"""

import anthropic
import openai

import common
import fakes

MAIL = f"""From: Maria Keller <{fakes.EMAIL}>
Subject: Refund for order 7

Hello, the bicycle light of my order no. 7 stopped working after two days. Please put the money back on my credit card
{fakes.card_number()}, valid until 11/29. Thank you, Maria Keller
"""

LOG = f"""2026-11-22 10:03:11 refund-service starting
AWS_ACCESS_KEY_ID={fakes.aws_access_key_id()}
AWS_SECRET_ACCESS_KEY={fakes.aws_secret_access_key()}
2026-11-22 10:03:12 git clone https://x-access-token:{fakes.github_token()}@github.com/outflow-demo/refunds
2026-11-22 10:03:13 refund of order 7: HTTP 503
"""


def classify(client: openai.OpenAI) -> dict:
    """The customer's mail, card number and all, goes to a model whose name can change."""
    answer = client.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "system", "content": "Sort this mail: refund, question or complaint."},
            {"role": "user", "content": MAIL},
        ],
    )
    return {"call": "classify the mail", "asked": "gpt-4o", "answered": answer.model}


def explain_log(client: openai.OpenAI) -> dict:
    """A log with credentials goes out, and the stream is never asked for its usage."""
    stream = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": f"Why did this refund fail?\n\n{LOG}"}],
        stream=True,
    )
    answered = {chunk.model for chunk in stream}
    return {"call": "explain the log", "asked": "gpt-4o", "answered": answered.pop()}


def draft_reply(client: anthropic.Anthropic) -> dict:
    answer = client.messages.create(
        model="claude-sonnet-4-5",
        max_tokens=300,
        system="Write a kind and short reply.",
        messages=[{"role": "user", "content": MAIL}],
    )
    return {"call": "draft a reply", "asked": "claude-sonnet-4-5", "answered": answer.model}


def remember(client: openai.OpenAI) -> dict:
    """The mail also goes into the search index."""
    answer = client.embeddings.create(model="text-embedding-3-small", input=MAIL)
    return {"call": "index the mail", "asked": "text-embedding-3-small", "answered": answer.model}


def main() -> None:
    openai_client = openai.OpenAI(api_key=common.API_KEY, max_retries=0)
    anthropic_client = anthropic.Anthropic(api_key=common.API_KEY, max_retries=0)
    calls = [
        classify(openai_client),
        explain_log(openai_client),
        draft_reply(anthropic_client),
        remember(openai_client),
    ]
    common.report("demo_app", calls=calls)


if __name__ == "__main__":
    main()
