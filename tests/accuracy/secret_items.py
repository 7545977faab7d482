"""Items that hold credentials: log lines, settings, source, commands, headers, chat. Enters: chance. Leaves: (kind, text, [(start, end)]),
offsets in characters; `corpus.py` makes bytes of them."""

import base64
import json

import secret_values as values
from chance import HOSTS, SERVICES, WORDS

VALUE = "@@VALUE@@"  # stands for the value while the text around it is made


def camel(name):
    first, *rest = name.lower().split("_")
    return first + "".join(part.capitalize() for part in rest)


def around(random, name, vendor):
    """A text with VALUE in it, where a value with this name would stand."""
    lower, dashed = name.lower(), name.lower().replace("_", "-")
    service = random.choice(SERVICES)
    return random.one(
        f"{name}={VALUE}",
        f"PORT=8080\nLOG_LEVEL=info\n{name}={VALUE}\nDEBUG=false",
        f'export {name}="{VALUE}"',
        f"{name}='{VALUE}'  # rotate in May",
        f"env:\n  - name: {name}\n    value: {VALUE}\n",
        f'{service}:\n  replicas: 2\n  {lower}: "{VALUE}"\n',
        f"  {lower}: {VALUE}\n  region: eu-west-1",
        json.dumps({"service": service, camel(name): VALUE, "retries": 3}),
        json.dumps({"env": {name: VALUE}}, indent=2),
        f'{lower} = "{VALUE}"\nclient = connect({lower})',
        f'client = {vendor.split()[0]}({lower}="{VALUE}", timeout=30)',
        f'os.environ["{name}"] = "{VALUE}"',
        f"const {camel(name)} = '{VALUE}';",
        f"  {camel(name)}: process.env.{name} || '{VALUE}',",
        f'{camel(name)} := "{VALUE}"',
        f'    private static final String {name} = "{VALUE}";',
        f"{dashed.replace('-', '.')}={VALUE}\nspring.application.name={service}",
        f'<add key="{name}" value="{VALUE}" />',
        f'variable "{lower}" {{\n  default = "{VALUE}"\n}}',
        f'ENV {name}={VALUE}\nCMD ["./{service}"]',
        f"define('{name}', '{VALUE}');",
        f"$config['{lower}'] = '{VALUE}';",
        f"docker run -e {name}={VALUE} acme/{service}:latest",
        f"{service} --{dashed} {VALUE} --verbose",
        f"./deploy.sh --{dashed}={VALUE}",
        f"2026-0{random.randint(1, 9)}-1{random.randint(0, 9)}T08:1{random.randint(0, 9)}:0{random.randint(0, 9)}Z ERROR {service}: {vendor} said 401 with {name}={VALUE}",
        json.dumps({"ts": 1785000000 + random.randint(0, 999999), "level": "warn", "msg": f"{lower}={VALUE} rejected", "svc": service}),
        json.dumps({"role": "user", "content": f'My {name} is "{VALUE}", why do I get a 401?'}),
        json.dumps({"messages": [{"role": "user", "content": f"fix this:\n{name}={VALUE}\nit fails"}]}),
        f"Here is my .env for {vendor}:\n{name}={VALUE}\nWhat is wrong with it?",
    )


def alone(random, name, vendor):
    """Where only a value that identifies itself would be seen."""
    service = random.choice(SERVICES)
    return random.one(
        VALUE,
        f'curl -H "Authorization: Bearer {VALUE}" https://api.acme.io/v1/models',
        f"> authorization: Bearer {VALUE}",
        f"curl https://api.acme.io/v2/items -H 'x-api-key: {VALUE}'",
        json.dumps({"headers": {"authorization": f"Bearer {VALUE}", "accept": "*/*"}}),
        f"the {vendor} key {VALUE} does not work any more",
        f"Mein Schlüssel ist {VALUE}, warum kommt 401?",
        f"ma clé : {VALUE} (ne pas partager)",
        json.dumps({"role": "user", "content": f"please debug with {VALUE} and tell me"}),
        f"[{service}] retry 3/5 token={VALUE} status=403",
        f"id,vendor,value\n17,{vendor},{VALUE}\n",
        f"INSERT INTO integrations (name, secret) VALUES ('{vendor}', '{VALUE}');",
        f"GET /v1/items?key={VALUE}&page=2 HTTP/1.1",
        f"Error: invalid credentials ({VALUE})\n    at request (/app/{service}.js:14:9)",
        f"<{VALUE}>",
        f"- old: {VALUE}\n- new: see vault",
    )


def vendor_item(random, kind):
    name, vendor, _ = (values.BARE | values.NAMED)[kind]
    value = values.value(kind, random)
    text = (alone if kind in values.BARE and random.random() < 0.5 else around)(random, name, vendor)
    # JSON writers escape what the value holds; ours hold nothing that they would.
    start = text.index(VALUE)
    return text.replace(VALUE, value), [(start, start + len(value))]


def mark(text, value):
    start = text.index(value)
    return text, [(start, start + len(value))]


def escaped(text):
    return json.dumps(text)[1:-1]


def block(random, make):
    """A key of several lines, as a file, in JSON, in YAML, in a chat."""
    key = make(random)
    style = random.randint(0, 5)
    if style == 0:
        return mark(key + "\n", key)
    if style == 1:
        return mark(json.dumps({"id": random.uuid(), "private_key": key + "\n"}), escaped(key))
    if style == 2:
        indented = key.replace("\n", "\n    ")
        return mark(f"tls:\n  key: |\n    {indented}\n", indented)
    if style == 3:
        return mark(json.dumps({"role": "user", "content": f"what is this?\n{key}\nthanks"}), escaped(key))
    if style == 4:
        return mark('PRIVATE_KEY="' + key.replace("\n", "\\n") + '"', key.replace("\n", "\\n"))
    return mark(f"2026-03-02 INFO loaded key\n{key}\n2026-03-02 INFO ready", key)


def basic(random):
    user = random.choice(SERVICES) + random.one("", "-svc", "@acme.io")
    value = base64.b64encode(f"{user}:{values.human_password(random, WORDS)}".encode()).decode()
    return mark(
        random.one(
            f"Authorization: Basic {value}",
            f"> authorization: Basic {value}",
            json.dumps({"headers": {"Authorization": f"Basic {value}"}}),
            f"curl -H 'Authorization: Basic {value}' https://acme.io",
            f'headers = {{"Authorization": "Basic {value}"}}',
            f"proxy-authorization: basic {value}",
            f"2026-04-01 DEBUG req headers: [Authorization: Basic {value}, Accept: */*]",
        ),
        value,
    )


def bearer(random):
    value = random.shape(random.one("<b40>", "<u43>", "<h64>", "<u86>", "<h40>", "<B48>="))
    return mark(
        random.one(
            f"Authorization: Bearer {value}",
            f"< set auth Bearer {value}",
            json.dumps({"Authorization": f"Bearer {value}"}),
            f'curl -H "Authorization: Bearer {value}" https://acme.io/api',
            f"headers: {{ Authorization: `Bearer {value}` }}",
            f"authorization=Bearer {value}",
            f"Authorization: Token {value}",
            f"X-Auth-Token: {value}",
            f"x-api-key: {value}",
        ),
        value,
    )


def uri(random):
    value = values.human_password(random, WORDS).replace("#", "%23").replace("@", "%40").replace("?", "%3F").replace("/", "-")
    scheme = random.one(
        "postgres",
        "postgresql",
        "mysql",
        "mongodb",
        "mongodb+srv",
        "redis",
        "rediss",
        "amqp",
        "amqps",
        "https",
        "ftp",
        "smtp",
        "mssql",
        "kafka",
        "postgresql+asyncpg",
        "ldap",
        "clickhouse",
    )
    user = (
        "" if scheme.startswith("redis") and random.random() < 0.7 else random.one("app", "svc_orders", "admin", "root", "postgres", "user")
    )
    url = f"{scheme}://{user}:{value}@{random.choice(HOSTS)}:{random.randint(1000, 9999)}/{random.choice(SERVICES)}"
    text = random.one(
        f"DATABASE_URL={url}",
        f"url: {url}",
        json.dumps({"dsn": url}),
        f"could not connect to {url}: timeout",
        f'engine = create_engine("{url}")',
        f"git remote add origin {url}",
        f"spring.datasource.url=jdbc:{url}",
        f"please check {url} for me",
    )
    return text, [(text.index(f":{value}@") + 1, text.index(f":{value}@") + 1 + len(value))]


def password(random):
    value = values.human_password(random, WORDS)
    user = random.choice(SERVICES)
    text = random.one(
        f"DB_PASSWORD={VALUE}",
        f'password: "{VALUE}"',
        f"password: {VALUE}",
        f"  passwd: '{VALUE}'",
        json.dumps({"user": user, "password": VALUE}),
        f"spring.datasource.password={VALUE}",
        f"<password>{VALUE}</password>",
        f'<property name="password" value="{VALUE}"/>',
        f"mysql -u {user} --password={VALUE} -h db",
        f"{user} --user admin --password {VALUE}",
        f"define('DB_PASSWORD', '{VALUE}');",
        f"CREATE USER {user} IDENTIFIED BY '{VALUE}';",
        f"ALTER USER {user} WITH PASSWORD '{VALUE}';",
        f"my password is {VALUE}, can you check it?",
        f"Mein Passwort ist {VALUE}",
        f"login as {user}, password {VALUE}",
        f"[client]\nuser={user}\npassword={VALUE}\nhost=db",
        f"const dbPassword = '{VALUE}';",
        f'String password = "{VALUE}";',
        f"conn = connect(user='{user}', password='{VALUE}')",
        f"sshpass -p '{VALUE}' ssh {user}@10.0.0.4",
        f"PGPASSWORD={VALUE} psql -h db -U {user}",
        f'$db_pass = "{VALUE}";',
        f"redis-cli -a {VALUE} ping",
        f'passphrase = "{VALUE}"',
        f"Username: {user}\nPassword: {VALUE}\n",
        f"user={user}&password={VALUE}&remember=1",
        f"requirepass {VALUE}",
        f"REDIS_PASSWORD: {VALUE}",
        f"senha: {VALUE}",
        f"contraseña: {VALUE}",
        f"mot de passe : {VALUE}",
        json.dumps({"role": "user", "content": f"The admin password is {VALUE} but login fails"}),
        f'"DefaultPassword"="{VALUE}"',
        f"curl -u {user}:{VALUE} https://acme.io/api",
        f'  adminPassword = "{VALUE}"',
        f"smtp_pass={VALUE}",
        f"pwd: '{VALUE}'",
    )
    if '{"' in text and ('"' in value or "\\" in value):
        value = "Plain7-value"
    start = text.index(VALUE)
    return text.replace(VALUE, value), [(start, start + len(value))]


def assignment(random):
    value = random.shape(random.one("<b32>", "<h32>", "<u43>", "<h64>", "<b24>", "<B44>", "<b40>", "<n25>", "<B43>="))
    prefix = random.choice(WORDS + SERVICES)
    name = prefix.upper() + random.one(
        "_API_KEY",
        "_SECRET",
        "_TOKEN",
        "_SECRET_KEY",
        "_ACCESS_TOKEN",
        "_CLIENT_SECRET",
        "_AUTH_TOKEN",
        "_SIGNING_KEY",
        "_ENCRYPTION_KEY",
        "_PRIVATE_KEY",
        "_APIKEY",
        "_WEBHOOK_SECRET",
    )
    text = around(random, name, prefix.capitalize())
    start = text.index(VALUE)
    return text.replace(VALUE, value), [(start, start + len(value))]


def connection(random):
    value = values.human_password(random, WORDS)
    host, user = random.choice(HOSTS), random.choice(SERVICES)
    text = random.one(
        f"Server=tcp:{host},1433;Initial Catalog=prod;User ID={user};Password={VALUE};Encrypt=True;",
        f"Host={host};Port=5432;Username={user};Password={VALUE};Database=app",
        f"Driver={{ODBC Driver 18 for SQL Server}};Server={host};Uid={user};Pwd={VALUE};",
        f"Data Source={host};User Id={user};Password={VALUE};",
        f"jdbc:sqlserver://{host}:1433;databaseName=app;user={user};password={VALUE};",
        f"jdbc:mysql://{host}:3306/app?user={user}&password={VALUE}&useSSL=true",
        f"host={host} port=5432 dbname=app user={user} password={VALUE} sslmode=require",
        f"amqp.uri=Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={VALUE}",
        f'<add name="Main" connectionString="Server={host};Database=app;User Id={user};Password={VALUE};" />',
        json.dumps({"ConnectionStrings": {"Main": f"Server={host};Database=app;Uid={user};Pwd={VALUE};"}}),
        f"jdbc:oracle:thin:{user}/{VALUE}@{host}:1521/app",
    )
    if "SharedAccessKey=" in text:
        value = random.shape("<B43>=")
    elif "oracle" in text or "&password" in text:
        value = random.shape("<b14>")
    start = text.index(VALUE)
    return text.replace(VALUE, value), [(start, start + len(value))]


def kubernetes(random):
    raw = values.human_password(random, WORDS) if random.random() < 0.6 else random.shape("<b40>")
    value = base64.b64encode(raw.encode()).decode()
    name = random.one("password", "db-password", "api-key", "token", "postgres-password", "client-secret", "DATABASE_PASSWORD")
    service = random.choice(SERVICES)
    return mark(
        random.one(
            f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: {service}\ntype: Opaque\ndata:\n  username: YWRtaW4=\n  {name}: {value}\n",
            f"apiVersion: v1\ndata:\n  {name}: {value}\nkind: Secret\nmetadata:\n  name: {service}\n",
            json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": service}, "data": {name: value}}),
        ),
        value,
    )


def dotfile(random):
    value = values.human_password(random, WORDS).replace(":", "-").replace("#", "8")
    user, host = random.choice(SERVICES), random.one("api.acme.io", "git.acme.io", "db.acme.io")
    token = random.one(random.uuid(), random.shape("<b36>"), random.shape("<B60>=="))
    hashed = values.htpasswd(random)
    text, value = random.one(
        (f"//registry.acme.io/:_authToken={token}", token),
        (f"registry=https://npm.acme.io/\n_auth={(base := base64.b64encode(f'{user}:{value}'.encode()).decode())}\nalways-auth=true", base),
        (f"machine {host}\n  login {user}\n  password {value}\n", value),
        (f"machine {host} login {user} password {value}", value),
        (f"{host}:5432:app:{user}:{value}", value),
        (f"{user}:{hashed}", hashed),
        ('{"auths": {"registry.acme.io": {"auth": "' + (docker := base64.b64encode(f"{user}:{value}".encode()).decode()) + '"}}}', docker),
        (f"[distutils]\n[pypi]\nusername = {user}\npassword = {value}\n", value),
        (f"https://{user}:{value.replace('@', '8').replace('?', '8')}@{host}", value.replace("@", "8").replace("?", "8")),
        (f"root:$6${random.shape('<b16>')}${(shadow := random.shape('<b86>'))}:19700:0:99999:7:::", shadow),
    )
    return mark(text, value)


def cookie(random):
    value = random.shape(random.one("<h32>", "<b26>", "<u43>", "s%3A<u32>.<B40>", "<h64>"))
    name = random.one(
        "session", "sessionid", "JSESSIONID", "PHPSESSID", "connect.sid", "sid", "auth_token", "ASP.NET_SessionId", "_acme_session"
    )
    return mark(
        random.one(
            f"Set-Cookie: {name}={value}; Path=/; HttpOnly; Secure",
            f"Cookie: theme=dark; {name}={value}",
            json.dumps({"set-cookie": f"{name}={value}; HttpOnly"}),
            f"curl -b '{name}={value}' https://acme.io",
            f"< set-cookie: {name}={value}; SameSite=Lax",
        ),
        value,
    )


GENERIC = {
    "pem": lambda random: block(random, values.pem),
    "pgp": lambda random: block(random, values.pgp),
    "putty": lambda random: block(random, values.putty),
    "basic": basic,
    "bearer": bearer,
    "uri": uri,
    "password": password,
    "password ": password,
    "assignment": assignment,
    "assignment ": assignment,
    "connection-string": connection,
    "kubernetes": kubernetes,
    "dotfile": dotfile,
    "cookie": cookie,
}


def items(random, each):
    """`each` of every kind."""
    for kind in values.BARE | values.NAMED:
        for _ in range(each):
            yield kind, *vendor_item(random, kind)
    for kind, make in GENERIC.items():
        for _ in range(each):
            yield kind.strip(), *make(random)
    for _ in range(each):
        key = values.gcp_account(random)
        start = key.index("-----BEGIN")
        yield "gcp-account", key, [(start, key.rindex("-----") + 5)]
