//! The CNI plugin at the end of a sandbox, asked as a runtime does, with what a runtime should not say.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::process::built;

/// Whatever DEL is given, it ends well: the runtime would try again for ever, and the pod stay.
#[test]
fn the_end_of_a_sandbox_never_fails() -> Result<()> {
    let program = built("sekisho")?;
    let ask = |verb: &str, environment: &[(&str, &str)], input: &[u8]| -> Result<_> {
        let mut command = Command::new(&program);
        command.arg("cni").env_clear().env("CNI_COMMAND", verb);
        command.envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("no pipe")?.write_all(input)?;
        let output = child.wait_with_output()?;
        Ok((output.status.success(), String::from_utf8(output.stdout)?))
    };
    let no_agent =
        r#"{"cniVersion": "1.0.0", "type": "sekisho-cni", "socket": "/nowhere/cni.sock"}"#;
    let inputs: [&[u8]; 9] = [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"{}",
        br#"{"cniVersion": "9.0.0", "socket": "/nowhere/cni.sock"}"#,
        br#"{"cniVersion": "1.0.0", "socket": 7, "deadlineSeconds": "x"}"#,
        br#"{"cniVersion": "1.0.0", "socket": "", "deadlineSeconds": 18446744073709551615}"#,
        no_agent.as_bytes(),
    ];
    let whole = [("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/opt/cni/bin")];
    let odd = [("CNI_CONTAINERID", "../c1"), ("CNI_ARGS", "x"), ("CNI_NETNS", "/nowhere")];
    for input in inputs {
        for environment in [&whole[..], &odd, &[]] {
            let said = ask("DEL", environment, input)?;
            ensure!(said == (true, String::new()), "{input:?}, {environment:?}: {said:?}");
        }
    }
    // ADD says what is wrong with the same.
    for input in &inputs[..8] {
        ensure!(!ask("ADD", &whole, input)?.0, "{input:?}");
    }
    Ok(())
}
