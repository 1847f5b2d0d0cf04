use serde_json::json;

use super::*;

/// As containerd calls for a pod.
fn environment(command: &str) -> Environment {
    let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;\
                     K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1";
    [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/var/run/netns/cni-1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", arguments),
        ("CNI_PATH", "/opt/cni/bin"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn config(version: &str) -> Value {
    json!({
        "cniVersion": version,
        "name": "k8s-pod-network",
        "type": "sekisho-cni",
        "socket": "/run/sekisho/cni.sock",
        "excludeNamespaces": ["kube-system"],
        "runtimeConfig": {"anything": 1},
        "prevResult": {
            "cniVersion": version,
            "interfaces": [{"name": "eth0", "sandbox": "/var/run/netns/cni-1"}],
            "ips": [
                {"address": "203.0.113.7/24", "gateway": "203.0.113.1", "interface": 0},
                {"address": "2001:db8::7/64"}
            ],
            "dns": {}
        }
    })
}

fn call(environment: &Environment, config: &Value) -> Result<Call, Failure> {
    read(environment, config.to_string().as_bytes())
}

fn web() -> Asked {
    Asked {
        namespace: "shop".into(),
        name: "web-0".into(),
        uid: "u1".into(),
        id: "c1".into(),
        netns: "/var/run/netns/cni-1".into(),
        addresses: ["203.0.113.7", "2001:db8::7"].map(|it| it.parse().unwrap()).into(),
    }
}

#[test]
fn a_pods_sandbox_is_read_in_every_version() {
    for version in VERSIONS {
        let config = config(version);
        let call = call(&environment("ADD"), &config).unwrap();
        let before = config["prevResult"].clone();
        assert_eq!(call.verb, Verb::Add { sandbox: Some(web()), before });
        assert_eq!(call.version, version);
        assert_eq!(call.config.deadline(), Duration::from_secs(5));
    }
    let call = call(&environment("CHECK"), &config("1.0.0")).unwrap();
    assert_eq!(call.verb, Verb::Check { sandbox: Some(web()) });
}

#[test]
fn a_container_that_is_no_pod_belongs_to_none() {
    let mut environment = environment("ADD");
    for arguments in ["", "IgnoreUnknown=1", "K8S_POD_NAME=web-0;"] {
        environment.insert("CNI_ARGS".into(), arguments.into());
        let call = call(&environment, &config("1.1.0")).unwrap();
        assert!(matches!(call.verb, Verb::Add { sandbox: None, .. }), "{arguments:?}");
    }
}

#[test]
fn the_end_of_a_sandbox_needs_its_name_and_no_more() {
    let mut environment = environment("DEL");
    environment.remove("CNI_NETNS");
    environment.remove("CNI_ARGS");
    assert!(is_del(&environment));
    let seconds = Duration::from_secs;
    for (config, deadline) in [
        (json!({"socket": "/run/a.sock"}), seconds(5)),
        (json!({"socket": "/run/a.sock", "cniVersion": 7, "prevResult": "?"}), seconds(5)),
        (json!({"socket": "/run/a.sock", "deadlineSeconds": 2}), seconds(2)),
        (json!({"socket": "/run/a.sock", "deadlineSeconds": u64::MAX}), seconds(5)),
    ] {
        let found = del(&environment, config.to_string().as_bytes());
        let socket = "/run/a.sock".into();
        assert_eq!(found, Some(Del { id: "c1".into(), socket, deadline }), "{config}");
    }
    for input in ["", "{", "[]", "null", "{}", r#"{"socket": 7}"#, "\u{1}\u{2}"] {
        assert_eq!(del(&environment, input.as_bytes()), None, "{input}");
    }
    environment.insert("CNI_CONTAINERID".into(), "../c1".into());
    assert_eq!(del(&environment, br#"{"socket": "/run/a.sock"}"#), None);
}

#[test]
fn a_deadline_is_bounded() {
    let mut config = config("1.0.0");
    config["deadlineSeconds"] = u64::MAX.into();
    let call = call(&environment("ADD"), &config).unwrap();
    assert_eq!(call.config.deadline(), Duration::from_hours(1));
}

#[test]
fn the_verbs_of_1_1_need_no_container() {
    let only =
        |command: &str| -> Environment { [("CNI_COMMAND".to_owned(), command.to_owned())].into() };
    let mut config = config("1.1.0");
    assert_eq!(call(&only("STATUS"), &config).unwrap().verb, Verb::Status);
    assert_eq!(call(&only("GC"), &config).unwrap_err().code, Code::Config);
    config["cni.dev/valid-attachments"] =
        json!([{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "eth0"}]);
    let ids = ["c1", "c2"].map(str::to_owned).into();
    assert_eq!(call(&only("GC"), &config).unwrap().verb, Verb::Gc { ids });
}

#[test]
fn what_makes_no_sense_is_refused_with_the_specifications_code() {
    let mut without_result = config("1.0.0");
    without_result.as_object_mut().unwrap().remove("prevResult");
    let mut without_version = config("1.0.0");
    without_version.as_object_mut().unwrap().remove("cniVersion");
    let changed = |name: &str, value: &str| {
        let mut environment = environment("ADD");
        environment.insert(name.into(), value.into());
        environment
    };
    for (environment, config, code) in [
        (environment("ADD"), without_result, Code::Config),
        (environment("ADD"), without_version, Code::Version),
        (environment("ADD"), config("2.0.0"), Code::Version),
        (environment("GC"), config("1.0.0"), Code::Version),
        (environment("STATUS"), config("0.4.0"), Code::Version),
        (environment("CHECK"), config("0.3.1"), Code::Version),
        (environment("ATTACH"), config("1.0.0"), Code::Environment),
        (changed("CNI_COMMAND", ""), config("1.0.0"), Code::Environment),
        (changed("CNI_NETNS", ""), config("1.0.0"), Code::Environment),
        (changed("CNI_IFNAME", ""), config("1.0.0"), Code::Environment),
        (changed("CNI_CONTAINERID", "../c1"), config("1.0.0"), Code::Environment),
        (changed("CNI_ARGS", "K8S_POD_NAME"), config("1.0.0"), Code::Environment),
        (environment("ADD"), json!({"cniVersion": "1.0.0", "socket": 7}), Code::Decode),
        (environment("ADD"), json!([]), Code::Decode),
    ] {
        let failure = call(&environment, &config).unwrap_err();
        assert_eq!(failure.code, code, "{config}: {failure:?}");
        let told: Value = serde_json::from_str(&failure.text("1.0.0")).unwrap();
        assert_eq!(told["code"], code as u32);
        assert_eq!(told["cniVersion"], "1.0.0");
        assert!(!told["msg"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_version_is_told_of_what_can_hardly_be_read() {
    assert_eq!(version_of(br#"{"cniVersion": "1.0.0", "socket": 7}"#).as_deref(), Some("1.0.0"));
    assert_eq!(version_of(b"{"), None);
    assert_eq!(version_of(b"{}"), None);
}
