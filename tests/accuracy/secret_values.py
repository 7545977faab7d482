"""Credentials by kind. Enters: chance. Leaves: values as the vendors' documentation describes them, invented, with valid
checksums where a kind has one. Written from vendors' facts, not from rules/: a rule that misreads a format must show here."""

import base64
import hashlib
import json
import zlib

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number, width):
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = BASE62[rest] + digits
    return digits.rjust(width, "0")


def crc62(body, random, wrong=False):
    """GitHub's and npm's tokens end in base 62 of the CRC-32 of the random part."""
    check = base62(zlib.crc32(body.encode()), 6)
    while wrong:
        other = random.shape("<b6>")
        if other != check:
            return other
    return check


def github(random, wrong=False):
    body = random.shape("<b30>")
    return random.one("ghp_", "gho_", "ghu_", "ghs_", "ghr_") + body + crc62(body, random, wrong)


def npm(random, wrong=False):
    body = random.shape("<b30>")
    return "npm_" + body + crc62(body, random, wrong)


def atlassian(random, wrong=False):
    body = "ATATT3xFfGF0" + random.shape("<u171>") + "="
    check = f"{zlib.crc32(body.encode()):08X}"
    while wrong and (other := random.shape("<H8>")) != check:
        return body + other
    return body + check


def grafana(random):
    """The last eight digits are the CRC-32 of what stands before them, lowest byte first (grafana, pkg/components/satokengen)."""
    if random.random() < 0.4:
        return "glc_" + encoded(random, {"o": random.digits(6), "n": "stack-prod", "k": random.shape("<b24>"), "m": {"r": "eu"}})
    body = random.shape("glsa_<b32>")
    return f"{body}_{zlib.crc32(body.encode()).to_bytes(4, 'little').hex()}"


def sentry(random):
    claims = {"iat": 1785000000.25, "url": "https://sentry.io", "region_url": "https://us.sentry.io", "org": "acme"}
    return random.one(random.shape("sntryu_<h64>"), f"sntrys_{encoded(random, claims)}_" + random.shape("<B43>"))


def encoded(random, value):
    return base64.b64encode(json.dumps(value, separators=random.one((",", ":"), (", ", ": "))).encode()).decode()


def aws_id(random):
    # The account's number is in the first bytes, in base 32; ids of today begin with Q to Z or 4 to 7 behind the prefix.
    return random.one("AKIA", "AKIA", "ASIA") + random.shape("<A1>").replace("A", "Y").replace("B", "Z") + random.shape("<A15>")


def slack(random):
    return random.one(
        random.shape("xoxb-<d12>-<d13>-<b24>"),
        random.shape("xoxp-<d12>-<d12>-<d13>-<h32>"),
        random.shape("xapp-1-A<N10>-<d13>-<h64>"),
        random.shape("xoxe.xoxp-1-<b146>"),
    )


def discord(random):
    snowflake = random.one("8", "9", "10", "11") + random.digits(16)
    return base64.b64encode(snowflake.encode()).decode().rstrip("=") + random.shape(".G<b5>.<u38>")


def b64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(random, algorithm=None):
    header = {"alg": algorithm or random.one("HS256", "RS256", "ES256", "EdDSA"), "typ": "JWT"}
    if random.random() < 0.4:
        header["kid"] = random.shape("<n12>")
    claims = {
        "sub": random.shape("<d8>"),
        "iss": f"https://{random.choice(['id', 'auth', 'login'])}.acme.io",
        "exp": random.randint(1_790_000_000, 1_900_000_000),
    }
    dump = lambda value: b64url(json.dumps(value, separators=random.one((",", ":"), (", ", ": "))).encode())
    return f"{dump(header)}.{dump(claims)}." + random.shape(random.one("<u43>", "<u86>", "<u342>"))


def body64(random, count, width=64, end="\n"):
    text = base64.b64encode(random.randbytes(count)).decode()
    return end.join(text[at : at + width] for at in range(0, len(text), width))


def pem(random):
    label, first, size = random.choice(
        [
            ("RSA PRIVATE KEY", "MIIEpAIBAAKCAQEA", 1175),
            ("PRIVATE KEY", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", 1190),
            ("EC PRIVATE KEY", "MHcCAQEEI", 110),
            ("ENCRYPTED PRIVATE KEY", "MIIFHDBOBgkqhkiG9w0BBQ0w", 1300),
            ("OPENSSH PRIVATE KEY", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW", 260),
            ("DSA PRIVATE KEY", "MIIBuwIBAAKBgQ", 430),
            ("PRIVATE KEY", "MC4CAQAwBQYDK2VwBCIEI", 33),
        ]
    )
    text = first + base64.b64encode(random.randbytes(size)).decode()
    width = 70 if "OPENSSH" in label else 64
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    head = (
        ["Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC," + random.shape("<H32>"), ""] if "RSA" in label and random.random() < 0.2 else []
    )
    return "\n".join([f"-----BEGIN {label}-----", *head, *lines, f"-----END {label}-----"])


def pgp(random):
    head = random.one("", f"Version: GnuPG v2.{random.randint(0, 4)}\n", "Comment: exported for backup\n")
    return f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n{head}\nlQ{body64(random, 700)}\n={random.shape('<B4>')}\n-----END PGP PRIVATE KEY BLOCK-----"


def putty(random):
    return (
        f"PuTTY-User-Key-File-{random.one('2: ssh-rsa', '3: ssh-ed25519')}\nEncryption: none\nComment: {random.choice(['deploy', 'rsa-key-20260114'])}\n"
        f"Public-Lines: 2\n{body64(random, 90)}\nPrivate-Lines: 2\n{body64(random, 80)}\nPrivate-MAC: {random.shape('<h64>')}"
    )


CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, part in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= part if (top >> bit) & 1 else 0
    return check


def bech32(prefix, data, constant=1):
    values = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + data
    check = polymod(values + [0] * 6) ^ constant
    return prefix + "1" + "".join(CHARSET[value] for value in data + [(check >> 5 * (5 - at)) & 31 for at in range(6)])


def age(random):
    bits = "".join(f"{byte:08b}" for byte in random.randbytes(32)) + "0000"
    return bech32("age-secret-key-", [int(bits[at : at + 5], 2) for at in range(0, 260, 5)]).upper()


def gcp_account(random):
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "acme-" + random.choice(["prod", "stage"]),
            "private_key_id": random.shape("<h40>"),
            "private_key": pem(random) + "\n",
            "client_email": "svc@acme-prod.iam.gserviceaccount.com",
        },
        indent=random.one(None, 2),
    )


# kind: (variable name, vendor word, shapes or a function). `bare` kinds identify themselves; the others need their name.
BARE = {
    "openai": (
        "OPENAI_API_KEY",
        "OpenAI",
        ["sk-proj-<u74>T3BlbkFJ<u74>", "sk-svcacct-<u74>T3BlbkFJ<u74>", "sk-admin-<u58>T3BlbkFJ<u58>", "sk-<b20>T3BlbkFJ<b20>"],
    ),
    "anthropic": ("ANTHROPIC_API_KEY", "Anthropic", ["sk-ant-api03-<u93>AA", "sk-ant-admin01-<u93>AA"]),
    "anthropic-oauth": ("CLAUDE_CODE_OAUTH_TOKEN", "Claude", ["sk-ant-oat01-<u93>AA"]),
    "google": ("GEMINI_API_KEY", "Gemini", ["AIzaSy<u33>", "AQ.Ab8RN6<u44>"]),
    "groq": ("GROQ_API_KEY", "Groq", ["gsk_<b52>"]),
    "xai": ("XAI_API_KEY", "xAI", ["xai-<b80>"]),
    "huggingface": ("HF_TOKEN", "Hugging Face", ["hf_<L34>", "api_org_<L34>"]),
    "replicate": ("REPLICATE_API_TOKEN", "Replicate", ["r8_<b37>"]),
    "perplexity": ("PERPLEXITY_API_KEY", "Perplexity", ["pplx-<b48>"]),
    "openrouter": ("OPENROUTER_API_KEY", "OpenRouter", ["sk-or-v1-<h64>"]),
    "cerebras": ("CEREBRAS_API_KEY", "Cerebras", ["csk-<n48>"]),
    "nvidia": ("NVIDIA_API_KEY", "NVIDIA", ["nvapi-<u64>"]),
    "together": ("TOGETHER_API_KEY", "Together", ["tgp_v1_<u43>"]),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK", "Bedrock", ["ABSK<B128>=", "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t<B200>"]),
    "langsmith": ("LANGSMITH_API_KEY", "LangSmith", ["lsv2_pt_<h32>_<h10>", "lsv2_sk_<h32>_<h10>"]),
    "langfuse": ("LANGFUSE_SECRET_KEY", "Langfuse", ["sk-lf-<h8>-<h4>-4<h3>-b<h3>-<h12>"]),
    "pinecone": ("PINECONE_API_KEY", "Pinecone", ["pcsk_<b5-6>_<b63>"]),
    "aws-id": ("AWS_ACCESS_KEY_ID", "AWS", aws_id),
    "gcp-oauth": ("GOOGLE_ACCESS_TOKEN", "Google", ["ya29.a0<u200>"]),
    "gcp-client": ("GOOGLE_CLIENT_SECRET", "Google", ["GOCSPX-<u28>"]),
    "azure-storage": (
        "AZURE_STORAGE_CONNECTION_STRING",
        "Azure",
        ["DefaultEndpointsProtocol=https;AccountName=acmeprod;AccountKey=<B86>==;EndpointSuffix=core.windows.net"],
    ),
    "entra": ("AZURE_CLIENT_SECRET", "Azure", ["<b3>8Q~<u34>"]),
    "azure-devops": ("AZURE_DEVOPS_EXT_PAT", "Azure DevOps", ["<b76>AZDO<b4>"]),
    "github": ("GITHUB_TOKEN", "GitHub", github),
    "github-fine": ("GH_TOKEN", "GitHub", ["github_pat_11<N20>_<b59>"]),
    "gitlab": (
        "GITLAB_TOKEN",
        "GitLab",
        ["glpat-<u20>", "gldt-<u20>", "glrt-<u20>", "glptt-<h40>", "glft-<u20>", "glcbt-<h2>_<u20>", "glsoat-<u20>"],
    ),
    "atlassian": ("JIRA_API_TOKEN", "Jira", atlassian),
    "npm": ("NPM_TOKEN", "npm", npm),
    "pypi": ("PYPI_TOKEN", "PyPI", ["pypi-AgEIcHlwaS5vcmc<u160>"]),
    "crates": ("CARGO_REGISTRY_TOKEN", "crates.io", ["cio<b32>"]),
    "rubygems": ("GEM_HOST_API_KEY", "RubyGems", ["rubygems_<h48>"]),
    "nuget": ("NUGET_API_KEY", "NuGet", ["oy2<n43>"]),
    "docker": ("DOCKER_TOKEN", "Docker Hub", ["dckr_pat_<u27>"]),
    "vault": ("VAULT_TOKEN", "Vault", ["hvs.<u95>", "hvb.<u150>"]),
    "terraform": ("TFE_TOKEN", "Terraform", ["<b14>.atlasv1.<u67>"]),
    "pulumi": ("PULUMI_ACCESS_TOKEN", "Pulumi", ["pul-<h40>"]),
    "doppler": ("DOPPLER_TOKEN", "Doppler", ["dp.pt.<b43>", "dp.st.prd.<b43>"]),
    "1password": ("OP_SERVICE_ACCOUNT_TOKEN", "1Password", ["ops_eyJ<u250>", "A3-<N6>-<N6>-<N5>-<N5>-<N5>-<N5>"]),
    "slack": ("SLACK_BOT_TOKEN", "Slack", slack),
    "slack-hook": ("SLACK_WEBHOOK_URL", "Slack", ["https://hooks.slack.com/services/T<N10>/B<N10>/<b24>"]),
    "discord": ("DISCORD_TOKEN", "Discord", discord),
    "discord-hook": ("DISCORD_WEBHOOK", "Discord", ["https://discord.com/api/webhooks/<d18>/<u68>"]),
    "telegram": ("TELEGRAM_BOT_TOKEN", "Telegram", ["<d10>:AA<u33>"]),
    "teams-hook": (
        "TEAMS_WEBHOOK",
        "Teams",
        [
            "https://acme.webhook.office.com/webhookb2/<h8>-<h4>-4<h3>-a<h3>-<h12>@<h8>-<h4>-4<h3>-a<h3>-<h12>/IncomingWebhook/<h32>/<h8>-<h4>-4<h3>-a<h3>-<h12>"
        ],
    ),
    "sendgrid": ("SENDGRID_API_KEY", "SendGrid", ["SG.<u22>.<u43>"]),
    "mailchimp": ("MAILCHIMP_API_KEY", "Mailchimp", ["<h32>-us<d1>"]),
    "stripe": ("STRIPE_SECRET_KEY", "Stripe", ["sk_live_<b24>", "sk_live_51<b97>", "rk_live_<b99>"]),
    "stripe-hook": ("STRIPE_WEBHOOK_SECRET", "Stripe", ["whsec_<b32>"]),
    "square": ("SQUARE_ACCESS_TOKEN", "Square", ["EAAAE<u59>", "sq0csp-<u43>", "sq0atp-<u22>"]),
    "braintree": ("BRAINTREE_ACCESS_TOKEN", "Braintree", ["access_token$production$<n16>$<h32>"]),
    "shopify": ("SHOPIFY_TOKEN", "Shopify", ["shpat_<h32>", "shpca_<h32>", "shppa_<h32>", "shpss_<h32>"]),
    "newrelic": ("NEW_RELIC_API_KEY", "New Relic", ["NRAK-<N27>"]),
    "grafana": ("GRAFANA_TOKEN", "Grafana", grafana),
    "sentry": ("SENTRY_AUTH_TOKEN", "Sentry", sentry),
    "planetscale": ("PLANETSCALE_TOKEN", "PlanetScale", ["pscale_tkn_<u43>", "pscale_pw_<u43>"]),
    "supabase": ("SUPABASE_ACCESS_TOKEN", "Supabase", ["sbp_<h40>", "sb_secret_<u31>"]),
    "digitalocean": ("DIGITALOCEAN_TOKEN", "DigitalOcean", ["dop_v1_<h64>", "doo_v1_<h64>", "dor_v1_<h64>"]),
    "linear": ("LINEAR_API_KEY", "Linear", ["lin_api_<b40>"]),
    "notion": ("NOTION_TOKEN", "Notion", ["ntn_<d11><b35>", "secret_<b43>"]),
    "figma": ("FIGMA_TOKEN", "Figma", ["figd_<u40>"]),
    "airtable": ("AIRTABLE_TOKEN", "Airtable", ["pat<b14>.<h64>"]),
    "asana": ("ASANA_TOKEN", "Asana", ["2/<d16>/<d16>:<h32>"]),
    "postman": ("POSTMAN_API_KEY", "Postman", ["PMAK-<h24>-<h34>"]),
    "databricks": ("DATABRICKS_TOKEN", "Databricks", ["dapi<h32>"]),
    "twilio": ("TWILIO_API_KEY", "Twilio", ["SK<h32>"]),
    "mailgun": ("MAILGUN_API_KEY", "Mailgun", ["key-<h32>", "<h32>-<h8>-<h8>"]),
    "fireworks": ("FIREWORKS_API_KEY", "Fireworks", ["fw_<b24>"]),
    "wandb": ("WANDB_API_KEY", "wandb", ["wandb_v1_<b77>"]),
    "age": ("AGE_KEY", "age", age),
    "jwt": ("ACCESS_TOKEN", "login", jwt),
}
NAMED = {
    "aws-secret": ("AWS_SECRET_ACCESS_KEY", "AWS", ["<B40>"]),
    "aws-session": ("AWS_SESSION_TOKEN", "AWS", ["IQoJb3JpZ2luX2VjE<B300>=", "FwoGZXIvYXdzE<B250>=="]),
    "deepseek": ("DEEPSEEK_API_KEY", "DeepSeek", ["sk-<h32>"]),
    "mistral": ("MISTRAL_API_KEY", "Mistral", ["<b32>"]),
    "cohere": ("COHERE_API_KEY", "Cohere", ["<b40>"]),
    "azure-openai": ("AZURE_OPENAI_API_KEY", "Azure OpenAI", ["<h32>"]),
    "assemblyai": ("ASSEMBLYAI_API_KEY", "AssemblyAI", ["<h32>"]),
    "deepgram": ("DEEPGRAM_API_KEY", "Deepgram", ["<h40>"]),
    "elevenlabs": ("ELEVENLABS_API_KEY", "ElevenLabs", ["sk_<h48>"]),
    "stability": ("STABILITY_API_KEY", "Stability", ["sk-<b48>"]),
    "voyage": ("VOYAGE_API_KEY", "Voyage", ["pa-<u43>"]),
    "fal": ("FAL_KEY", "fal", ["<h8>-<h4>-4<h3>-a<h3>-<h12>:<h32>"]),
    "wandb-old": ("WANDB_API_KEY", "wandb", ["<h40>"]),
    "cloudflare": ("CLOUDFLARE_API_TOKEN", "Cloudflare", ["<u40>"]),
    "heroku": ("HEROKU_API_KEY", "Heroku", ["<h8>-<h4>-4<h3>-a<h3>-<h12>"]),
    "datadog": ("DD_API_KEY", "Datadog", ["<h32>"]),
    "datadog-app": ("DATADOG_APP_KEY", "Datadog", ["<h40>"]),
    "pagerduty": ("PAGERDUTY_API_KEY", "PagerDuty", ["u+<u18>", "y_<u18>"]),
    "twilio-auth": ("TWILIO_AUTH_TOKEN", "Twilio", ["<h32>"]),
    "okta": ("OKTA_API_TOKEN", "Okta", ["00<u40>"]),
    "auth0": ("AUTH0_CLIENT_SECRET", "Auth0", ["<u64>"]),
    "algolia": ("ALGOLIA_ADMIN_KEY", "Algolia", ["<h32>"]),
    "fastly": ("FASTLY_API_TOKEN", "Fastly", ["<u32>"]),
    "vercel": ("VERCEL_TOKEN", "Vercel", ["<b24>"]),
    "netlify": ("NETLIFY_AUTH_TOKEN", "Netlify", ["nfp_<b36>", "<u43>"]),
    "confluent": ("CONFLUENT_API_SECRET", "Confluent", ["<B64>"]),
    "snowflake": ("SNOWFLAKE_PASSWORD", "Snowflake", ["Sn0w!<b10>"]),
    "plaid": ("PLAID_SECRET", "Plaid", ["<h30>"]),
    "adyen": ("ADYEN_API_KEY", "Adyen", ["AQE<n2>hmfxK<b40>"]),
    "bitbucket": ("BITBUCKET_CLIENT_SECRET", "Bitbucket", ["<b32>"]),
    "paypal": ("PAYPAL_CLIENT_SECRET", "PayPal", ["E<u79>"]),
    "ollama": ("OLLAMA_API_KEY", "Ollama", ["<h32>.<b24>"]),
}


def value(kind, random):
    _, _, source = (BARE | NAMED)[kind]
    return source(random) if callable(source) else random.shape(random.choice(source))


def human_password(random, words):
    """As people choose them."""
    word = lambda: random.choice(words)
    return random.one(
        word().capitalize() + random.digits(random.randint(2, 4)) + random.one("!", "#", "$", "?", "*", "@"),
        word() + random.one("-", "_", ".") + word() + random.digits(2),
        random.shape("<b12>"),
        random.shape("<b6>!<b5>#"),
        random.shape("<b20>"),
        word().replace("e", "3").replace("o", "0").replace("a", "4").capitalize() + random.one("!", "_", "%") + random.digits(3),
        f"{word()}-{word()}-{word()}-{random.digits(1)}",
    )


def htpasswd(random):
    return random.one(
        "$apr1$" + random.shape("<b8>$<b22>"),
        f"$2y$1{random.randint(0, 2)}$" + random.shape("<b53>"),
        "{SHA}" + base64.b64encode(hashlib.sha1(random.randbytes(9)).digest()).decode(),
    )
