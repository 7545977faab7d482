//! Whoever may not tap is told why, in one sentence that names what is missing: by `tap`, by `run` and by `doctor`.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use testbed::{Bench, Ended, Job};

use crate::support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow};

/// docs: DESIGN section 9.
const PERMISSION: i32 = 4;

/// Refuses bpf(2) and perf_event_open(2) to what it starts, as a container's profile may; seccomp(2). It runs `argv[1:]`.
const FILTER: &str = "
import ctypes, os, platform, struct, sys
numbers = (321, 298) if platform.machine() == 'x86_64' else (280, 241)
code = [(0x20, 0, 0, 0)] + [(0x15, len(numbers) - i, 0, n) for i, n in enumerate(numbers)]
code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050001)]
text = b''.join(struct.pack('HBBI', *one) for one in code)
held = ctypes.create_string_buffer(text, len(text))
class Program(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit(f'no filter: {os.strerror(ctypes.get_errno())}')
os.execvp(sys.argv[1], sys.argv[1:])
";

/// A way to have fewer rights.
struct Fewer {
    case: &'static str,
    /// What stands before `outflow`.
    before: Vec<OsString>,
    /// What the sentence must say, and what it must not.
    has: &'static [&'static str],
    has_not: &'static [&'static str],
}

fn fewer() -> [Fewer; 6] {
    let fewer = |case, before: &[&str], has, has_not| Fewer { case, before: words(before), has, has_not };
    let without_bpf = "--bounding-set=-all,+perfmon,+sys_ptrace,+dac_read_search,+checkpoint_restore";
    let without_perfmon = "--bounding-set=-all,+bpf,+sys_ptrace,+dac_read_search,+checkpoint_restore";
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    [
        fewer(
            "root without BPF",
            &["setpriv", without_bpf],
            &["CAP_BPF", "--cap-add BPF"],
            &["CAP_PERFMON", "CAP_SYS_ADMIN"],
        ),
        fewer(
            "root without PERFMON",
            &["setpriv", without_perfmon],
            &["CAP_PERFMON", "--cap-add PERFMON"],
            &["CAP_BPF", "CAP_SYS_ADMIN"],
        ),
        fewer(
            "root without anything",
            &["setpriv", "--bounding-set=-all"],
            &["CAP_BPF and no CAP_PERFMON"],
            &["CAP_SYS_ADMIN"],
        ),
        fewer("nobody", &nobody, &["CAP_BPF and no CAP_PERFMON", "as root"], &["CAP_SYS_ADMIN"]),
        fewer("a user namespace", &["unshare", "--user", "--map-root-user"], &["user namespace"], &["CAP_"]),
        fewer("a seccomp filter", &["python3", "-c", FILTER], &["seccomp"], &["CAP_"]),
    ]
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// `before outflow arguments`, until it ends.
fn run(bench: &Bench, before: &[OsString], arguments: &[OsString], label: &str) -> Ended {
    let (program, rest) = before.split_first().unwrap();
    let mut command = Command::new(program);
    // A folder for each: it belongs to whoever makes it, and nobody else may look in.
    command.args(rest).arg(outflow()).args(arguments).env("STATE_DIRECTORY", bench.dir().join("state").join(label));
    Job::start(command, bench.dir(), label).unwrap().wait(CLIENT_TIMEOUT_S).unwrap()
}

fn place(label: &str) -> Bench {
    let bench = bench(label);
    let state = bench.dir().join("state");
    fs::create_dir(&state).unwrap();
    for (folder, mode) in [(bench.dir(), 0o711), (state.as_path(), 0o777)] {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }
    bench
}

/// The only line that tells of a refusal says all that is wanted of it.
fn assert_told(text: &str, case: &str, has: &[&str], has_not: &[&str]) {
    let told: Vec<&str> = text.lines().filter(|line| line.contains("not permitted")).collect();
    let [line] = told[..] else { panic!("{case}: one line, not {told:?} in {text}") };
    for word in has {
        assert!(line.contains(word), "{case}: no {word:?} in {line}");
    }
    for word in has_not {
        assert!(!line.contains(word), "{case}: {word:?} in {line}");
    }
    println!("{case}: {line}");
}

#[test]
fn tap_names_what_is_missing() {
    if !bpf_or_skip() {
        return;
    }
    let bench = place("permission-tap");
    for Fewer { case, before, has, has_not } in fewer() {
        let ended = run(&bench, &before, &words(&["tap", "--", "true"]), case);
        assert_eq!(ended.status.code(), Some(PERMISSION), "{case}: {}", ended.stderr);
        assert_told(&ended.stderr, case, has, has_not);
    }
}

#[test]
fn doctor_names_what_is_missing() {
    if !bpf_or_skip() {
        return;
    }
    let bench = place("permission-doctor");
    for Fewer { case, before, has, has_not } in fewer() {
        let ended = run(&bench, &before, &words(&["doctor", "--format", "text"]), case);
        assert_eq!(ended.status.code(), Some(PERMISSION), "{case}: {}", ended.stdout);
        let programs: Vec<&str> = ended.stdout.lines().filter(|line| line.contains("kernel programs")).collect();
        assert_told(&programs.join("\n"), case, has, has_not);
    }
    let all = run(&bench, &words(&["env"]), &words(&["doctor", "--format", "text"]), "doctor");
    let line = all.stdout.lines().find(|line| line.contains("kernel programs")).unwrap();
    assert!(line.starts_with("ok") && line.contains("probes by "), "it says by which means: {line}");
}

#[test]
fn run_names_what_is_missing() {
    if !bpf_or_skip() {
        return;
    }
    let bench = place("permission-run");
    let config = bench.dir().join("outflow.toml");
    let text = format!(
        "[tap]\nenabled = true\nscope = \"cgroup\"\ncgroups = [{:?}]\n[admin]\nlisten = \"off\"\n",
        bench.cgroup.path()
    );
    fs::write(&config, text).unwrap();
    for Fewer { case, before, has, has_not } in fewer() {
        let arguments = [OsString::from("run"), "--config".into(), config.clone().into_os_string()];
        let ended = run(&bench, &before, &arguments, case);
        assert_eq!(ended.status.code(), Some(PERMISSION), "{case}: {}", ended.stderr);
        assert_told(&ended.stderr, case, has, has_not);
    }
}

/// A process that was named, and belongs to somebody else.
#[test]
fn a_process_that_may_not_be_looked_at_is_an_error_that_names_the_right() {
    if !bpf_or_skip() {
        return;
    }
    let bench = place("permission-look");
    let (ready, mut said) = std::io::pipe().map(|(read, write)| (write, read)).unwrap();
    let mut sleeper = Command::new("setpriv");
    sleeper.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "echo ready; exec sleep 60"]);
    sleeper.stdin(Stdio::null()).stdout(ready);
    let mut sleeper = Held(sleeper.spawn().unwrap());
    // It is another user's once it speaks.
    std::io::Read::read_exact(&mut said, &mut [0; 6]).unwrap();
    let pid = sleeper.0.id().to_string();
    let without = "--bounding-set=-all,+bpf,+perfmon,+dac_read_search,+checkpoint_restore";
    let ended = run(&bench, &words(&["setpriv", without]), &words(&["tap", "--pid", &pid]), "look");
    assert_eq!(ended.status.code(), Some(PERMISSION), "{}", ended.stderr);
    assert_told(&ended.stderr, "root without SYS_PTRACE", &["CAP_SYS_PTRACE"], &["CAP_BPF", "CAP_DAC_READ_SEARCH"]);
    assert!(sleeper.0.try_wait().unwrap().is_none(), "it was left alone");
}

/// Ended on drop.
struct Held(std::process::Child);

impl Drop for Held {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
