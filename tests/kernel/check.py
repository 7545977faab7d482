"""The check that runs inside a test kernel: `outflow run` watches the whole host there, and real clients talk to a local server.

Enters: the files that `cargo xtask kernels` packed. Leaves lines on standard output, which xtask counts and shows:
    ok NAME | not ok NAME: why | fact NAME: value
It is the only place where a tap of the whole host may run: nothing else lives in this machine.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.request

RUN = "/run/check"
STATE = f"{RUN}/state"
CA = f"{RUN}/ca.pem"
AGENT = "/bin/outflow"
CLIENT = ["/usr/bin/python3", "/clients/raw_client.py"]
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
LIMIT_S = 60
ADMIN = "http://127.0.0.1:9464/metrics"
CANARY = "zebra-crossing-4711"

HOSTS = "127.0.0.1 localhost api.openai.com api.anthropic.com shop.example.test\n"

# The exporters speak TLS to a vendor's name: were the agent's own calls tapped, they would be copied.
CONFIG = f"""
[state]
directory = "{STATE}"
[tap]
enabled = true
scope = "host"
[admin]
listen = "127.0.0.1:9464"
[[sinks.otlp]]
endpoint = "https://api.openai.com:443"
protocol = "http"
ca_file = "{CA}"
[[sinks.kafka]]
brokers = ["api.openai.com:443"]
settings = {{ "security.protocol" = "SSL", "ssl.ca.location" = "{CA}" }}
"""

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/root",
    "SSL_CERT_FILE": CA,
    "NODE_EXTRA_CA_CERTS": CA,
    "PYTHONDONTWRITEBYTECODE": "1",
}


def leak(name):
    """What a client gives away. The scanner knows mail addresses; whose it was, the service's name says."""
    return f"write to {name}@outflow-demo-shop.com"


def until(what, ready, limit_s=LIMIT_S):
    """Waits for what has no event that all of the kernels could wait on."""
    end = time.monotonic() + limit_s
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.05)


class Job:
    """A client. Its service's name is its own, and so are its pipes."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.output = f"{RUN}/{name}.out"
        everything = {**ENVIRONMENT, "OTEL_SERVICE_NAME": name, **(environment or {})}
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=everything)

    def end(self):
        status = self.process.wait(LIMIT_S)
        if status:
            with open(self.output, encoding="utf-8", errors="replace") as output:
                raise RuntimeError(f"{self.name} ended with {status}: {output.read()[-600:]}")


class Met(Job):
    """A client of ours that connects, says so, and waits to be told to go on."""

    def __init__(self, name, wrap=lambda command: command, environment=None, connect_first=True):
        self.ready, self.go = f"{RUN}/{name}.ready", f"{RUN}/{name}.go"
        os.mkfifo(self.ready)
        os.mkfifo(self.go)
        arguments = ["--canary", leak(name), "--requests", "3", "--size", "100000"]
        command = [*CLIENT, *arguments, "--ready", self.ready, "--go", self.go]
        if not connect_first:
            script = "import sys; open(sys.argv[1], 'w').write('ready\\n'); open(sys.argv[2]).readline()"
            script += "; sys.argv = sys.argv[3:]; sys.path.insert(0, '/clients'); import raw_client; raw_client.main()"
            command = ["/usr/bin/python3", "-c", script, self.ready, self.go, CLIENT[1], *arguments]
        super().__init__(name, wrap(command), environment)

    def wait_ready(self):
        # A client that failed never opens its end, and opening ours for both ways does not wait for it.
        ready = os.open(self.ready, os.O_RDWR | os.O_NONBLOCK)
        def said():
            if self.process.poll() is not None:
                self.end()
                raise RuntimeError(f"{self.name} ended before it connected")
            try:
                return os.read(ready, 6)
            except BlockingIOError:
                return b""
        until(f"{self.name} to connect", said)
        os.close(ready)

    def tell(self):
        with open(self.go, "w", encoding="utf-8") as go:
            go.write("go\n")


def box(name, private):
    """The command in a container of its own: mounts, process numbers, and a TLS library that nobody else can see."""
    identity = (name.encode().hex() + "0" * 64)[:64]
    group = f"/sys/fs/cgroup/pod/{identity}"
    def wrap(command):
        root = f"/box/{name}"
        os.makedirs(root)
        os.makedirs(group)
        script = f"""
            set -e
            echo $$ > {group}/cgroup.procs
            mount -t tmpfs box {root}
            cd {root}
            mkdir -p usr proc run etc bin clients .{private}
            for folder in usr run etc bin clients; do mount --bind /$folder $folder; done
            for link in lib lib64; do [ -L /$link ] && ln -s "$(readlink /$link)" $link || {{ mkdir $link; mount --bind /$link $link; }}; done
            mount -t tmpfs box .{private}
            cp {LIBRARIES}/libssl.so.3 {LIBRARIES}/libcrypto.so.3 .{private}/
            mount -t proc proc proc
            exec chroot . "$@"
        """
        return ["/bin/unshare", "-m", "-p", "-f", "/bin/sh", "-c", script, "box", *command]
    return wrap, {"LD_LIBRARY_PATH": private}


def private_copy(name):
    folder = f"/tmp/{name}"
    os.makedirs(folder)
    for library in ("libssl.so.3", "libcrypto.so.3"):
        with open(f"{LIBRARIES}/{library}", "rb") as source, open(f"{folder}/{library}", "wb") as copy:
            copy.write(source.read())
    return folder


class Agent:
    """`outflow run`, and what it says."""

    def __init__(self):
        with open(f"{RUN}/outflow.toml", "w", encoding="utf-8") as config:
            config.write(CONFIG)
        self.lines = []
        self.process = subprocess.Popen(
            [AGENT, "run", "--config", f"{RUN}/outflow.toml"], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        threading.Thread(target=lambda: self.lines.extend(iter(self.process.stderr.readline, "")), daemon=True).start()

    def says(self, text, limit_s=LIMIT_S):
        def said():
            if self.process.poll() is not None:
                raise RuntimeError(f"the agent ended with {self.process.poll()}: {self.lines[-5:]}")
            return [line for line in list(self.lines) if text in line]
        return until(f"the agent to say {text!r} (it said {self.lines[-5:]})", said, limit_s)

    def tapped(self):
        return [line.strip() for line in self.lines if line.startswith("outflow: tapping")]

    def metrics(self, prefix):
        with urllib.request.urlopen(ADMIN, timeout=LIMIT_S) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(prefix))

    def processes(self):
        own = self.process.pid
        with open(f"/proc/{own}/task/{own}/children", encoding="ascii") as children:
            return [own, *map(int, children.read().split())]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)


def findings():
    listed = subprocess.run(
        [AGENT, "findings", "list", "--store", f"{STATE}/outflow.db", "--limit", "0", "--format", "jsonl"],
        capture_output=True, text=True, env=ENVIRONMENT, check=False,
    )
    return [json.loads(line) for line in listed.stdout.splitlines()]


def leaked(services, limit_s=20):
    """Which of the services the agent caught, as soon as it is all of them."""
    def caught():
        found = {finding["process"]["service"] for finding in findings() if finding["rule"]["id"] == "pii.email"}
        return found if found >= services else None
    try:
        return until("leaks", caught, limit_s)
    except TimeoutError:
        return {finding["process"]["service"] for finding in findings() if finding["rule"]["id"] == "pii.email"}


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))


class Tally:
    """What is printed for xtask."""

    def __init__(self):
        self.failed = 0

    def expect(self, name, holds, why=""):
        self.failed += not holds
        print(f"ok {name}" if holds else f"not ok {name}: {why}", flush=True)

    @staticmethod
    def fact(name, value):
        print(f"fact {name}: {value}", flush=True)


def early_clients():
    """There before the agent is."""
    jobs = [Met("opened-before"), Met("late-library", connect_first=False)]
    wrap, environment = box("container-before", "/private-before")
    jobs.append(Met("container-before", wrap, environment))
    for name in ("deleted", "replaced"):
        jobs.append(Met(name, environment={"LD_LIBRARY_PATH": private_copy(name)}))
    for job in jobs:
        job.wait_ready()
    os.unlink("/tmp/deleted/libssl.so.3")
    replacement = private_copy("replacement")
    os.rename(f"{replacement}/libssl.so.3", "/tmp/replaced/libssl.so.3")
    return jobs


def late_clients():
    """Started while the agent watches. Where a library is new to it, a client waits for the probes to be in place."""
    wrap, environment = box("container-after", "/private-after")
    jobs = [
        Met("container-after", wrap, environment),
        Met("replacement", environment={"LD_LIBRARY_PATH": "/tmp/replaced"}),
    ]
    for job in jobs:
        job.wait_ready()
    return jobs


def plain_clients():
    """Programs as people run them: they talk at once, and are gone. With each the file that holds its TLS."""
    url = "https://api.openai.com/v1/chat/completions"
    def body(name):
        return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": leak(name)}]})
    def fetch(name):
        return f"fetch({url!r}, {{method: 'POST', body: {body(name)!r}}}).then(r => r.text())"
    programs = {
        "curl": ("libssl", lambda name: ["/usr/bin/curl", "-sf", "-H", "content-type: application/json", "-d", body(name), url]),
        "wget": ("libgnutls", lambda name: ["/usr/bin/wget", "-qO-", f"--ca-certificate={CA}", f"--post-data={body(name)}", url]),
        "node": ("/usr/bin/node", lambda name: ["/usr/bin/node", "-e", fetch(name)]),
    }
    return {name: program for name, program in programs.items() if os.path.exists(program[1](name)[0])}


def run_plain(agent, tally):
    """A file that is new to the agent is read and probed while its program runs, and a program that talks at once may be first: so each runs
    twice, and the second time has to be seen. Gives those that ran."""
    ran = []
    for name, (library, command) in plain_clients().items():
        try:
            Job(f"{name}-first", command(f"{name}-first")).end()
            agent.says(library, 20)
            Job(name, command(name)).end()
            ran.append(name)
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
            tally.expect(f"recovered: {name}", False, str(error).replace("\n", " ")[:300])
    return ran


def check(tally):
    os.makedirs(RUN)
    with open("/etc/hosts", "w", encoding="ascii") as hosts:
        hosts.write(HOSTS)
    names = "api.openai.com,api.anthropic.com,shop.example.test"
    server = subprocess.Popen(
        ["/bin/llm-server", "--names", names, "--ca-out", CA, "--ready-file", f"{RUN}/ready"], env=ENVIRONMENT
    )
    until("the server", lambda: os.path.exists(f"{RUN}/ready"))
    early = early_clients()

    started = time.monotonic()
    agent = Agent()
    agent.says("outflow: ready")
    tally.fact("ready after", f"{time.monotonic() - started:.1f} s")
    tally.expect("the programs load and the agent is up", True)

    # Only the agent's own calls so far: it has connected to the vendor's name, and none of that was copied.
    until("the exporters to have tried", lambda: os.path.exists(f"{STATE}/outflow.db"))
    quiet = agent.metrics("outflow_tap_calls_total")
    tally.expect("nothing is copied before a client speaks", quiet == 0, f"{quiet} calls")

    late = late_clients()
    agent.says("/private-after/libssl.so.3", 20)
    for job in [*early, *late]:
        job.tell()
    for job in [*early, *late]:
        job.end()
    plain = run_plain(agent, tally)
    other = Job("other-host", [*CLIENT, "--host", "shop.example.test", "--canary", CANARY, "--requests", "2"])
    other.end()

    wanted = {job.name for job in [*early, *late]} | set(plain)
    caught = leaked(wanted)
    for name in sorted(wanted):
        tally.expect(f"recovered: {name}", name in caught, f"no finding; tapped were {agent.tapped()}")
    first = sorted(name for name in leaked(set(), 0) if name.endswith("-first"))
    tally.fact("seen at their very first run", ", ".join(name.removesuffix("-first") for name in first) or "none")
    of_box = [f for f in findings() if f["process"]["service"] == "container-after"]
    identity = "container-after".encode().hex()[:12]
    named = [f["process"].get("container") for f in of_box]
    tally.expect("a finding names the container", identity in named, f"{named}")

    services = {finding["process"]["service"] for finding in findings()}
    tally.expect("no finding about the agent", not any("outflow" in name for name in services), f"{services}")
    own = [line for line in agent.tapped() if AGENT in line]
    tally.expect("the agent's own program is not probed", not own, f"{own}")
    lost = agent.metrics("outflow_tap_lost_calls_total")
    tally.expect("nothing is lost", lost == 0, f"{lost} calls")
    stored = subprocess.run(["/bin/grep", "-rlF", CANARY, STATE], capture_output=True, text=True, check=False).stdout
    tally.expect("another host's traffic is not stored", not stored, stored)
    tally.fact("calls copied", int(agent.metrics("outflow_tap_calls_total")))
    tally.fact("bytes copied", int(agent.metrics("outflow_tap_bytes_total")))
    tally.fact("libraries tapped", len(agent.tapped()))
    processes = agent.processes()
    tally.fact("resident", " and ".join(f"{resident_mib(pid)} MiB" for pid in processes))

    status = agent.end()
    tally.expect("the agent ends cleanly", status == 0, f"status {status}, {agent.lines[-5:]}")
    left = [pid for pid in processes if os.path.exists(f"/proc/{pid}")]
    tally.expect("none of its processes is left", not left, f"{left}")
    server.terminate()


def main():
    tally = Tally()
    tally.fact("kernel", os.uname().release)
    try:
        check(tally)
    except Exception as error:  # pylint: disable=broad-except
        traceback.print_exc()
        tally.expect("the check ran to its end", False, repr(error))
    sys.exit(1 if tally.failed else 0)


main()
