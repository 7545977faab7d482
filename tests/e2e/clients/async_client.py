"""The vendors' asyncio clients with several calls at once, each with a text of its own.

Under asyncio Python drives OpenSSL over memory BIOs: a tap cannot see a socket there.
Usage: async_client.py [--canary TEXT] [--calls N] [--size BYTES] [--stream]
N calls to each vendor; call I of vendor V carries TEXT-V-I. Then, when asked, a prompt of BYTES, and one answer of each vendor as a stream.
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
    parser.add_argument("--size", type=int)
    parser.add_argument("--stream", action="store_true")
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

        async def large() -> None:
            answer = await openai_client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "x" * args.size}]
            )
            common.check(answer.usage.prompt_tokens > args.size // 8, "the server did not read all of it")

        async def streams() -> int:
            chunks = await openai_client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello."}], stream=True
            )
            events = [chunk async for chunk in chunks]
            async with anthropic_client.messages.stream(
                model="claude-haiku-4-5", max_tokens=100, messages=[{"role": "user", "content": "Hello."}]
            ) as stream:
                events += [event async for event in stream]
            return len(events)

        numbers = range(args.calls)
        canaries = await asyncio.gather(*map(chat, numbers), *map(message, numbers))
        if args.size is not None:
            await large()
        events = await streams() if args.stream else 0
    common.report("async_client", canaries=canaries, events=events)


if __name__ == "__main__":
    asyncio.run(main())
