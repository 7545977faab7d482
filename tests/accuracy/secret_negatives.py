"""Items that look like credentials and are none. Enters: chance, and the folder of recorded exchanges for the ciphertext that
vendors send. Leaves: (class, text)."""

import base64
import json
import pathlib

import secret_values as values
from chance import SERVICES, WORDS


def wrong_crc(random):
    token = random.choice([values.github, values.npm, values.atlassian])(random, wrong=True)
    name = {"n": "NPM_TOKEN", "A": "JIRA_TOKEN"}.get(token[0], "GITHUB_TOKEN")
    return random.one(
        token,
        f"{name}={token}",
        f'token: "{token}"',
        f"bad credentials for {token}",
        json.dumps({"content": f"use {token}"}),
        f"Authorization: Bearer {token}",
        f"git clone https://{token}@github.com/acme/app.git" if name == "GITHUB_TOKEN" else token,
    )


def placeholder(random):
    name = random.one(
        "API_KEY",
        "OPENAI_API_KEY",
        "password",
        "db_password",
        "client_secret",
        "access_token",
        "AWS_SECRET_ACCESS_KEY",
        "auth_token",
        "GITHUB_TOKEN",
        "secret",
    )
    lower = name.lower()
    upper = random.choice(SERVICES).upper()
    value = random.one(
        f"YOUR_{name.upper()}_HERE",
        f"<your-{lower}>",
        "${" + upper + "_" + name.upper() + "}",
        "xxxxxxxxxxxxxxxxxxxxxxxx",
        "changeme",
        "change-me-in-production",
        "REPLACE_ME",
        "[REDACTED]",
        "********",
        "...",
        "{{ .Values." + lower + " }}",
        "%(" + lower + ")s",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-...",
        "your-api-key-here",
        "insert_key_here",
        "dummy",
        "example",
        "TO-DO",
        f"{{{{ secrets.{name.upper()} }}}}",
        f"${{{{ secrets.{name.upper()} }}}}",
        "sk-ant-api03-...",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "AKIAXXXXXXXXXXXXXXXX",
        "<redacted>",
        "null",
        "none",
        "test",
        "my-secret-key",
        "placeholder-token",
        "abcdefghijklmnopqrstuvwxyz",
        "1234567890abcdef1234567890abcdef"[: random.randint(10, 12)],
        "••••••••",
        "<hidden>",
        "!vault",
        "(sensitive value)",
        f"vault:secret/data/{upper.lower()}#{lower}",
        f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{upper.lower()}-AbCdEf",
        f"op://prod/{upper.lower()}/{lower}",
        f"ssm:/{upper.lower()}/{lower}",
        f"file:/run/secrets/{lower}",
        f"/run/secrets/{lower}",
        f"projects/acme/secrets/{lower}/versions/latest",
        f"@Microsoft.KeyVault(SecretUri=https://acme.vault.azure.net/secrets/{lower})",
    )
    return random.one(
        f"{name}={value}",
        f'{lower}: "{value}"',
        json.dumps({lower: value}),
        f"export {name}={value}",
        f"{lower} = '{value}'",
        f"--{lower.replace('_', '-')} {value}",
        f"Authorization: Bearer {value}",
        f"postgres://user:{value.replace('/', '').replace(' ', '')}@localhost/db" if random.random() < 0.5 else f"{name}: {value}",
    )


def documentation(random):
    """Published examples: they open nothing."""
    return random.one(
        "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AKIAI44QH8DHBEXAMPLE",
        "AWS_SECRET_ACCESS_KEY=je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
        "AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;",
        "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "Authorization: Basic dXNlcjpwYXNz",
        "postgres://postgres:postgres@localhost:5432/postgres",
        "mysql://root:root@127.0.0.1/test",
        "redis://user:password@redis:6379",
        "amqp://guest:guest@localhost:5672/",
        "mongodb://username:password@host:27017/db",
        "https://user:pass@example.com/",
        "ftp://anonymous:anonymous@ftp.example.org/",
        "curl -u username:password https://api.example.com",
        "Authorization: Bearer mF_9.B5f-4.1JqM",
    )


def checksum(random):
    digest = random.shape(random.one("<h32>", "<h40>", "<h64>", "<h128>"))
    return random.one(
        f"{digest}  {random.choice(SERVICES)}-1.{random.randint(0, 40)}.tar.gz",
        f"sha256:{random.shape('<h64>')}",
        f'etag: "{digest[:32]}"',
        f'ETag: W/"{digest[:32]}"',
        f"Content-MD5: {base64.b64encode(random.randbytes(16)).decode()}",
        json.dumps({"file": "app.bin", "sha256": random.shape("<h64>"), "size": random.randint(100, 99999)}),
        f"checksum = \"{random.shape('<h64>')}\"",
        f"image: ghcr.io/acme/{random.choice(SERVICES)}@sha256:{random.shape('<h64>')}",
        f"md5sum {digest[:32]}",
        f"cache_key={digest[:32]}",
        f"cacheKey: {digest[:40]}",
        f"fingerprint={random.shape('<h32>')}",
        "SHA256:" + base64.b64encode(random.randbytes(32)).decode().rstrip("=") + " deploy@acme (ED25519)",
        ":".join(random.shape("<h2>") for _ in range(random.one(16, 20, 32))),
        f"digest: {digest}",
        f"partition_key={digest[:32]}",
        f"idempotency_key: {random.uuid()}",
        f"primary_key={random.randint(10**9, 10**11)}",
    )


def git(random):
    sha = random.shape("<h40>")
    return random.one(
        f"commit {sha}\nAuthor: Ada",
        f"HEAD is now at {sha[:10]} Fix the build",
        f"index {sha[:7]}..{random.shape('<h7>')} 100644",
        f"https://github.com/acme/app/commit/{sha}",
        f"uses: actions/checkout@{sha}",
        f"Merge: {sha[:9]} {random.shape('<h9>')}",
        json.dumps({"sha": sha, "ref": "refs/heads/main"}),
        f'rev = "{sha}"',
        f"github.com/acme/lib v0.0.0-20260{random.randint(100, 930)}120000-{sha[:12]}",
        f"GIT_COMMIT={sha}",
        f"COMMIT_SHA={sha}",
    )


def uuid(random):
    value = random.uuid()
    return random.one(
        value,
        f"request_id={value}",
        json.dumps({"id": value, "tenant": random.uuid()}),
        f"GET /v1/users/{value}/orders 200",
        f"correlation-id: {value}",
        f"trace {value} took 12 ms",
        f"session {value} closed",
        f"tenantId: {value}",
        f"client_id={value}",
        f"traceparent: 00-{random.shape('<h32>')}-{random.shape('<h16>')}-01",
        json.dumps({"trace_id": random.shape("<h32>"), "span_id": random.shape("<h16>")}),
        f"subscription/{value}/resourceGroups/acme",
    )


def image(random):
    head = random.one(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"GIF89a", b"wOF2\x00\x01\x00\x00")
    text = base64.b64encode(head + random.randbytes(random.randint(300, 3000))).decode()
    return random.one(
        f'<img src="data:image/png;base64,{text}">',
        json.dumps({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{text}"}}),
        f"background: url(data:font/woff2;base64,{text})",
        json.dumps({"b64_json": text}),
        json.dumps({"type": "base64", "media_type": "image/png", "data": text}),
    )


def lock(random):
    name, sri = random.choice(WORDS), "sha512-" + base64.b64encode(random.randbytes(64)).decode()
    return random.one(
        f'"node_modules/{name}": {{\n  "version": "4.1.{random.randint(0, 9)}",\n  "resolved": "https://registry.npmjs.org/{name}/-/{name}-4.1.0.tgz",\n  "integrity": "{sri}"\n}}',
        f'[[package]]\nname = "{name}"\nversion = "1.0.{random.randint(0, 99)}"\nchecksum = "{random.shape("<h64>")}"',
        f"{name}==2.{random.randint(0, 30)}.1 \\\n    --hash=sha256:{random.shape('<h64>')} \\\n    --hash=sha256:{random.shape('<h64>')}",
        f"{name}@^4.0.0:\n  version \"4.1.2\"\n  resolved \"https://registry.yarnpkg.com/{name}/-/{name}-4.1.2.tgz#{random.shape('<h40>')}\"\n  integrity {sri}",
        f"golang.org/x/{name} v0.{random.randint(1, 40)}.0 h1:{base64.b64encode(random.randbytes(32)).decode()}",
        f'<script src="https://cdn.acme.io/{name}.js" integrity="{sri}" crossorigin="anonymous"></script>',
        f"content-hash = \"{random.shape('<h64>')}\"",
    )


def identifier(random):
    a, b, c = (random.choice(WORDS) for _ in range(3))
    return random.one(
        f"token = {a}_{b}_{c}_provider",
        f"const secretName = '{a}-{b}-{c}';",
        f"com.acme.{a}.{b.capitalize()}{c.capitalize()}TokenFactory",
        f"auth_token_provider: {a.capitalize()}{b.capitalize()}TokenProvider",
        f'api_key_header = "X-{a.capitalize()}-{b.capitalize()}-Key"',
        f"password_reset_url = /accounts/{a}/{b}/reset",
        f"secret_key_ref: {a}-{b}-{c}-secret",
        f"tokenizer: {a}-{b}-base-v2",
        f"SECRET_NAME={a}/{b}/{c}",
        f"key: {a}.{b}.{c}",
        f'"key": "ctrl+shift+{a}"',
        f"accessKeyId = credentials.get{a.capitalize()}AccessKeyId()",
        f"token_type={a}Bearer",
        f"let token = await get{a.capitalize()}Token({b});",
        f'private_key_path = "/etc/ssl/{a}/{b}.key"',
        f"secretKeyRef:\n  name: {a}-{b}\n  key: {c}",
        f"TOKEN_URL=https://auth.{a}.io/oauth2/{b}/token",
        f"keyName={a.capitalize()}{b.capitalize()}{c.capitalize()}",
        f"if (token === '{a}{b.capitalize()}{c.capitalize()}') return;",
        f"PasswordEncoder {a}Encoder = new {b.capitalize()}PasswordEncoder();",
        f"credential_source: {a}_{b}_file",
        f"api-key-name: {a}-{b}-{random.randint(1, 9)}",
        f"secret: {a}-{b}-tls",
        f"tokens = {a}.split('{b}')",
    )


def minified(random):
    parts = [
        random.one(
            f"function {random.shape('<L1>')}({random.shape('<L1>')}){{return {random.shape('<L1>')}.{random.choice(WORDS)}({random.shape('<L1>')})}}",
            f"var {random.shape('<L2>')}=\"{random.choice(WORDS)}\";",
            f"{random.shape('<L1>')}.token=={random.shape('<L1>')}&&{random.shape('<L1>')}.password({random.shape('<L1>')}),",
            f"e.exports=JSON.parse('{{\"{random.choice(WORDS)}\":{random.randint(0, 999)}}}')",
        )
        for _ in range(random.randint(10, 60))
    ]
    return "".join(parts) + f"\n//# sourceMappingURL=main.{random.shape('<h8>')}.js.map"


def cluster(random):
    service = random.choice(SERVICES)
    return random.one(
        f"pod/{service}-{random.shape('<q9>')}-{random.shape('<q5>')}",
        f"default/{service}-token-{random.shape('<q5>')}",
        f"arn:aws:iam::{random.digits(12)}:role/{service}-{random.choice(WORDS)}-role",
        f"arn:aws:lambda:eu-west-1:{random.digits(12)}:function:{service}:{random.randint(1, 90)}",
        f"arn:aws:secretsmanager:us-east-1:{random.digits(12)}:secret:prod/{service}-{random.shape('<b6>')}",
        f"i-0{random.shape('<h16>')} running",
        f"vpc-0{random.shape('<h16>')} subnet-0{random.shape('<h16>')}",
        f"containerd://{random.shape('<h64>')}",
        f"/kubepods/burstable/pod{random.uuid()}/{random.shape('<h64>')}",
        f"secretName: {service}-tls\nserviceAccountName: {service}",
        f"Mounted secret volume kube-api-access-{random.shape('<q5>')}",
        f"projects/acme-prod/locations/europe-west1/keyRings/{service}/cryptoKeys/main",
        f"s3://acme-{service}/2026/03/{random.shape('<h32>')}.parquet",
        f"gke-prod-pool-1-{random.shape('<h8>')}-{random.shape('<n4>')}",
        f"{random.shape('<N13>')}.cloudfront.net",
        f"x-amz-request-id: {random.shape('<N16>')}\nx-amz-id-2: {random.shape('<B75>')}=",
        f"cf-ray: {random.shape('<h16>')}-FRA",
    )


def listing(random):
    value = base64.b64encode(random.randbytes(30)).decode()
    return random.one(
        json.dumps({"nextPageToken": value}),
        f"next_token={value}",
        json.dumps({"NextToken": value, "IsTruncated": True}),
        f"cursor={value}",
        json.dumps({"pagination": {"continuationToken": value}}),
        f"?pageToken={value}&pageSize=50",
        json.dumps({"system_fingerprint": f"fp_{random.shape('<h10>')}", "id": f"chatcmpl-{random.shape('<b29>')}"}),
        json.dumps({"id": f"toolu_01{random.shape('<b22>')}", "type": "tool_use"}),
        json.dumps({"tool_call_id": f"call_{random.shape('<b24>')}"}),
        json.dumps({"id": f"msg_01{random.shape('<b22>')}", "usage": {"input_tokens": random.randint(1, 9999), "output_tokens": 17}}),
        json.dumps({"previous_response_id": f"resp_{random.shape('<h48>')}"}),
        f"max_tokens={random.randint(1000, 99999)}",
        json.dumps({"total_tokens": 123456789012, "token_count": 98765}),
    )


def public(random):
    key = base64.b64encode(random.randbytes(270)).decode()
    return random.one(
        f"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ{key} deploy@acme",
        f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{random.shape('<B43>')} ada@acme",
        f"-----BEGIN PUBLIC KEY-----\n{values.body64(random, 290)}\n-----END PUBLIC KEY-----",
        f"-----BEGIN CERTIFICATE-----\n{values.body64(random, 900)}\n-----END CERTIFICATE-----",
        json.dumps({"kty": "RSA", "kid": random.shape("<h40>"), "n": random.shape("<u342>"), "e": "AQAB"}),
        f"github.com ssh-rsa AAAAB3NzaC1yc2E{random.shape('<B300>')}",
        f"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ{random.shape('<B180>')}",
        "age1" + random.shape("<q58>"),
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\n<your key here>\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PGP MESSAGE-----\n\n{values.body64(random, 300)}\n-----END PGP MESSAGE-----",
        f"publicKey: {random.shape('<B43>')}=",
        f"SENTRY_RELEASE={random.shape('<h40>')}",
    )


def code(random):
    a, b = random.choice(WORDS), random.choice(WORDS)
    return random.one(
        "password = os.environ['DB_PASSWORD']",
        "token: str = Field(default=None)",
        "const password = await bcrypt.hash(input, 10);",
        "assert user.password == None",
        "api_key = config.get('api_key')",
        "def login(user: str, password: str) -> Token:",
        f"if password != {a}_password:",
        f"self.token = {a}.get_token()",
        'String password = System.getenv("PASSWORD");',
        'password := flag.String("password", "", "the password")',
        f"SELECT password FROM {a} WHERE id = $1",
        "ALTER TABLE users ADD COLUMN password_hash VARCHAR(255)",
        f"expect(screen.getByLabelText('Password')).toBeVisible(); // {a}",
        "password: process.env.DB_PASSWORD,",
        f"secret = get_secret('{a}/{b}')",
        "access_token = response.json()['access_token']",
        f"headers = {{'Authorization': f'Bearer {{{a}_token}}'}}",
        "Authorization: Bearer ${token}",
        f"auth = HTTPBasicAuth({a}, {b})",
        f"password=getpass.getpass('{a}: ')",
        '<input type="password" name="password" placeholder="Password">',
        f"token.startsWith('{a}')",
        f"passwordField.setText({a});",
        f"mock.password = 'password'; // {b}",
        f"validate_password({a}, min_length=12)",
        f"fn parse_token(token: &str) -> Result<{a.capitalize()}, Error> {{",
        f"throw new Error('Invalid token: expected {a}');",
        f"PASSWORD_HASHERS = ['django.contrib.auth.hashers.{a.capitalize()}']",
        f'"password": {{"type": "string", "minLength": {random.randint(8, 16)}}}',
        f'type Credentials struct {{ Password string `json:"password"` }} // {a}',
        f"password = {a}.{b}",
        f"token={a}Token",
        f"secret = var.{a}_secret",
        f'password = data.vault_generic_secret.{a}.data["{b}"]',
        f"password = random_password.{a}.result",
    )


def prose(random):
    a = random.choice(WORDS)
    return random.one(
        f"The password must be at least 12 characters long, see {a}.",
        "I forgot my password, can you send a reset link?",
        "Your token expired; please log in again.",
        f"Secret ingredients: {a} and salt.",
        "password: incorrect",
        "Password: required field",
        json.dumps({"login.password": "Passwort", "login.forgot": "Passwort vergessen?"}),
        json.dumps({"password_label": "Mot de passe", "secret_question": "Quel est le nom de votre chien ?"}),
        "Basic authentication is not recommended for production.",
        "The bearer of this letter is entitled to entry.",
        f"API key management belongs to the {a} team",
        "Set the environment variable OPENAI_API_KEY before you start.",
        "my password is not working today",
        "Das Passwort ist abgelaufen",
        "token limit exceeded: 128000 of 131072",
        f"the secret is {a}",
        "Access token lifetime: 3600 seconds",
        "Passwords are stored with bcrypt (cost 12)",
        "wachtwoord vergeten? klik hier",
        "La contraseña debe tener al menos 8 caracteres",
        f"the api key {a} was deleted yesterday",
        f"{a}: password changed by admin at 12:04:33",
        "Enter password: ",
        'password authentication failed for user "postgres"',
        "WARN password expires in 14 days",
        "usage: login --user NAME --password PASSWORD",
        "sudo: a password is required",
        f"password:{a}",
        "ssh: handshake failed: unable to authenticate, attempted methods [none password]",
    )


def style(random):
    return random.one(
        f".{random.choice(WORDS)}-token {{ color: #{random.shape('<h6>')}; background: #{random.shape('<h6>')}; }}",
        f"--color-key-{random.choice(WORDS)}: rgba({random.randint(0, 255)},{random.randint(0, 255)},0,.4);",
        f'<path d="M{random.randint(0, 99)}.{random.digits(3)} {random.digits(2)}.4c0-1.1.9-2 2-2h{random.digits(3)}v{random.digits(2)}z"/>',
        f".css-{random.shape('<n7>')}-{random.choice(WORDS)}{{display:flex}}",
        f"class=\"{random.choice(WORDS)}_{random.shape('<b5>')}__{random.shape('<b5>')}\"",
        f"{random.choice(WORDS)}.{random.shape('<h20>')}.chunk.js",
        f"https://cdn.acme.io/assets/index-{random.shape('<u8>')}.css",
        f"version 1.{random.randint(0, 99)}.{random.randint(0, 99)}+build.{random.shape('<h7>')}",
        f"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1{random.digits(2)}.0.0.0 Safari/537.36",
        f"at com.acme.{random.choice(WORDS)}.TokenService.lambda$refresh${random.randint(0, 9)}(TokenService.java:{random.randint(10, 900)})",
        f"0x{random.shape('<h16>')} in {random.choice(WORDS)}_token_parse ()",
        f"order no. {random.digits(10)} of 2026-03-1{random.randint(0, 9)}",
    )


def ciphertexts(folder):
    """Opaque text that vendors send along: encrypted reasoning, signatures of thoughts."""
    names = ("encrypted_content", "signature", "thoughtSignature", "thought_signature", "data", "obfuscation")
    found = []

    def walk(value):
        if isinstance(value, dict):
            for name, inner in value.items():
                if name in names and isinstance(inner, str) and len(inner) > 60:
                    found.append(json.dumps({name: inner[:4000]}))
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    for file in sorted(pathlib.Path(folder).rglob("*")):
        if not file.is_file() or file.stat().st_size > 4_000_000:
            continue
        for line in file.read_bytes().decode("utf-8", "replace").splitlines():
            line = line.removeprefix("data:").strip()
            if line.startswith(("{", "[")):
                try:
                    walk(json.loads(line))
                except ValueError:
                    continue
        if file.suffix == ".json":
            try:
                walk(json.loads(file.read_text("utf-8", "replace")))
            except ValueError:
                continue
    return sorted(set(found))


CLASSES = {
    "wrong-crc": wrong_crc,
    "placeholder": placeholder,
    "documentation": documentation,
    "checksum": checksum,
    "git": git,
    "uuid": uuid,
    "image": image,
    "lock-file": lock,
    "identifier": identifier,
    "minified": minified,
    "cluster": cluster,
    "listing": listing,
    "public-key": public,
    "code": code,
    "prose": prose,
    "style": style,
}


def items(random, each, exchanges):
    for kind, make in CLASSES.items():
        for _ in range(each):
            yield kind, make(random)
    texts = ciphertexts(exchanges)
    for text in random.sample(texts, min(each, len(texts))):
        yield "ciphertext", text
