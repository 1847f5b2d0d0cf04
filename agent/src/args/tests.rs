use std::{path::PathBuf, time::Duration};

use clap::CommandFactory;

use super::{choices::UnknownPods, *};
use crate::observe::log::LogFormat;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_consistent() {
    Args::command().debug_assert();
}

#[test]
fn an_agent_needs_a_node_and_holds_unknown_pods_in_a_cluster_only() {
    let Command::Agent(agent) =
        parse("sekisho agent --config-dir c --node-name n").unwrap().command
    else {
        panic!("not an agent");
    };
    assert_eq!(agent.run_dir, PathBuf::from(DEFAULT_RUN_DIR));
    assert_eq!(agent.pin_dir, PathBuf::from(DEFAULT_PIN_DIR));
    assert!(!agent.holds_unknown_pods());
    assert_eq!(agent.on_revoke, OnRevoke::Reset);
    assert_eq!(agent.cgroup, None);
    let Command::Agent(agent) = parse("sekisho agent --node-name n --context c").unwrap().command
    else {
        panic!("not an agent");
    };
    assert!(agent.holds_unknown_pods());
    assert_eq!((agent.config_dir, agent.credentials.context.as_deref()), (None, Some("c")));
    let error = parse("sekisho agent --config-dir c --node-name n --context c").unwrap_err();
    assert_eq!(error.exit_code(), i32::from(exit::USAGE));
    assert!(error.to_string().contains("--config-dir"), "{error}");
}

#[test]
fn every_option_of_the_agent_is_read() {
    let line = "sekisho agent --config-dir c --node-name n --run-dir r --pin-dir p --cgroup g \
                --unknown-pods hold --on-revoke keep --admin [::1]:9090 --log deny=warn \
                --log-format json --canary-interval 300";
    let Command::Agent(agent) = parse(line).unwrap().command else { panic!("not an agent") };
    assert_eq!(agent.run_dir, PathBuf::from("r"));
    assert_eq!(agent.pin_dir, PathBuf::from("p"));
    assert_eq!(agent.cgroup, Some(PathBuf::from("g")));
    assert_eq!(agent.unknown_pods, Some(UnknownPods::Hold));
    assert_eq!(agent.on_revoke, OnRevoke::Keep);
    assert_eq!(agent.canary_interval, Duration::from_mins(5));
    assert_eq!(agent.admin, Some("[::1]:9090".parse().unwrap()));
    assert_eq!((agent.log.as_str(), agent.log_format), ("deny=warn", LogFormat::Json));
}

#[test]
fn each_question_takes_a_format_and_a_run_dir() {
    for verb in ["status", "flows", "why a/b 203.0.113.1:80", "uninstall"] {
        for format in ["table", "json", "yaml"] {
            parse(&format!("sekisho {verb} -o {format} --run-dir r")).unwrap();
            parse(&format!("sekisho {verb} --output {format}")).unwrap();
        }
        assert!(parse(&format!("sekisho {verb} -o xml")).is_err());
    }
    parse("sekisho analyze -o yaml - a.yaml dir").unwrap();
    parse("sekisho analyze --context c").unwrap();
    parse("sekisho analyze --kubeconfig f --context c a.yaml").unwrap();
    assert!(parse("sekisho analyze").is_err());
}

#[test]
fn what_becomes_of_objects_is_written_unless_it_is_turned_off() {
    let writes = |line: &str| {
        let Command::Agent(agent) = parse(line)?.command else { panic!("not an agent") };
        Ok::<_, clap::Error>(agent.write_status)
    };
    assert!(writes("sekisho agent --node-name n").unwrap());
    assert!(!writes("sekisho agent --node-name n --write-status false").unwrap());
    // On a directory there is no server to write to.
    assert!(writes("sekisho agent --node-name n --config-dir c").is_ok());
    assert!(writes("sekisho agent --node-name n --config-dir c --write-status true").is_err());
}
