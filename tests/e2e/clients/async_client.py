"""The vendors' asyncio clients with several calls at once, each with a text of its own.

Under asyncio Python drives OpenSSL over memory BIOs: a tap cannot see a socket there.
Usage: async_client.py [--canary TEXT] [--calls N]     N calls to each vendor; call I of vendor V carries TEXT-V-I.
"""

import argparse
import asyncio

import anthropic
import openai

import common


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--canary", default="canary-async")
    parser.add_argument("--calls", type=int, default=6)
    args = parser.parse_args()
    headers = {"x-fixture": "echo"}

    async with (
        openai.AsyncOpenAI(api_key=common.API_KEY, max_retries=0) as openai_client,
        anthropic.AsyncAnthropic(api_key=common.API_KEY, max_retries=0) as anthropic_client,
    ):

        async def chat(number: int) -> str:
            canary = f"{args.canary}-openai-{number}"
            answer = await openai_client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": canary}], extra_headers=headers
            )
            common.check(canary in answer.choices[0].message.content, f"{canary} did not come back")
            return canary

        async def message(number: int) -> str:
            canary = f"{args.canary}-anthropic-{number}"
            answer = await anthropic_client.messages.create(
                model="claude-haiku-4-5",
                max_tokens=100,
                messages=[{"role": "user", "content": canary}],
                extra_headers=headers,
            )
            common.check(canary in answer.content[0].text, f"{canary} did not come back")
            return canary

        numbers = range(args.calls)
        canaries = await asyncio.gather(*map(chat, numbers), *map(message, numbers))
    common.report("async_client", canaries=canaries)


if __name__ == "__main__":
    asyncio.run(main())
