use serde_json::json;

use super::*;

/// As kindnet writes it, with an unknown field and numbers that JSON does not mind.
const LIST: &str = r#"{
  "cniVersion": "0.3.1",
  "name": "kindnet",
  "plugins": [
    {
      "type": "ptp",
      "zeta": 1.50, "alpha": 12345678901234567890,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "203.0.113.0/24"}]]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ],
  "x-vendor": {"b": 1, "a": 2}
}
"#;

fn entry() -> Value {
    json!({"type": NAME, "socket": "/run/sekisho/cni.sock", "deadlineSeconds": 5})
}

fn inserted(text: &str, entry: &Value) -> String {
    insert(text.as_bytes(), entry).unwrap().expect("a change")
}

#[test]
fn an_entry_goes_in_at_the_end_and_comes_out_without_a_trace() {
    let with = inserted(LIST, &entry());
    let value: Value = serde_json::from_str(&with).unwrap();
    let plugins = value["plugins"].as_array().unwrap();
    assert_eq!(plugins.len(), 3);
    assert_eq!(plugins[2], entry());
    assert!(with.contains(r#""zeta": 1.50, "alpha": 12345678901234567890"#), "{with}");
    assert_eq!(insert(with.as_bytes(), &entry()).unwrap(), None, "it is there");
    assert_eq!(remove(with.as_bytes()).unwrap().unwrap(), LIST);
    assert_eq!(remove(LIST.as_bytes()).unwrap(), None);
}

#[test]
fn another_setting_takes_the_place_of_the_old_one() {
    let with = inserted(LIST, &entry());
    // Another program has put itself behind ours.
    let behind = with.replace("\n  ]", ",\n    {\"type\": \"other\"}\n  ]");
    let mut later = entry();
    later["deadlineSeconds"] = 9.into();
    let value: Value = serde_json::from_str(&inserted(&behind, &later)).unwrap();
    let types: Vec<_> = value["plugins"].as_array().unwrap().iter().map(|p| &p["type"]).collect();
    assert_eq!(types, ["ptp", "portmap", NAME, "other"]);
    assert_eq!(value["plugins"][2]["deadlineSeconds"], 9);
}

#[test]
fn an_entry_that_is_there_twice_becomes_one() {
    let ours = entry().to_string();
    let twice = LIST.replace("\n  ],", &format!(",\n    {ours},\n    {ours}\n  ],"));
    let value: Value = serde_json::from_str(&inserted(&twice, &entry())).unwrap();
    assert_eq!(value["plugins"].as_array().unwrap().len(), 3);
    assert_eq!(remove(twice.as_bytes()).unwrap().unwrap(), LIST);
}

#[test]
fn a_list_keeps_its_own_tabs_and_line_ends() {
    let plain = LIST.replace("  ", "\t");
    let compact: Value = serde_json::from_str(LIST).unwrap();
    let one = r#"{ "plugins" : [ {"type": "ptp"} ] , "name": "a" }"#.to_owned();
    let cases = [
        plain.clone(),
        plain.replace('\n', "\r\n"),
        plain.replace('\n', ""),
        plain.trim_end().to_owned(),
        format!("\n\n {plain} \n\n"),
        compact.to_string(),
        serde_json::to_string_pretty(&compact).unwrap(),
        one,
        r#"{"plugins":[{"type":"a"},{"type":"b"}]}"#.to_owned(),
        r#"{"plugins":[{"type":"a"}  ,

            {"type":"b"}
        ],"x":[]}"#
            .to_owned(),
    ];
    for text in cases {
        let with = inserted(&text, &entry());
        let value: Value = serde_json::from_str(&with).unwrap();
        assert_eq!(value["plugins"].as_array().unwrap().last(), Some(&entry()), "{with}");
        assert_eq!(remove(with.as_bytes()).unwrap().unwrap(), text);
        // Another setting is another entry at the same place.
        let mut later = entry();
        later["deadlineSeconds"] = 9.into();
        assert_eq!(remove(inserted(&with, &later).as_bytes()).unwrap().unwrap(), text);
    }
}

#[test]
fn an_entry_comes_out_wherever_others_have_put_it() {
    let ours = entry().to_string();
    for (order, left) in [
        ("OURS, {\"type\": \"a\"}", "{\"type\": \"a\"}"),
        ("OURS, OURS,\n\t{\"type\": \"a\"},OURS", "{\"type\": \"a\"}"),
        (
            "{\"type\": \"a\"}, OURS,\n\t{\"type\": \"b\"}",
            "{\"type\": \"a\"},\n\t{\"type\": \"b\"}",
        ),
        ("\tOURS\t", "\t\t"),
        ("OURS, OURS", ""),
    ] {
        let text = |plugins: &str| format!("{{\t\"plugins\": [{plugins}]}}");
        let with = text(&order.replace("OURS", &ours));
        assert_eq!(remove(with.as_bytes()).unwrap().unwrap(), text(left), "{with}");
    }
}

#[test]
fn a_single_plugin_becomes_a_list_that_is_read_before_it() {
    let single = br#"{"cniVersion": "1.0.0", "name": "net", "type": "bridge", "mtu": 1400}"#;
    let value: Value = serde_json::from_str(&wrap(single, &entry()).unwrap()).unwrap();
    assert_eq!((&value["cniVersion"], &value["name"]), (&"1.0.0".into(), &"net".into()));
    assert_eq!(value["plugins"][0], serde_json::from_slice::<Value>(single).unwrap());
    assert_eq!(value["plugins"][1], entry());
    for name in ["10-net.conf", "10-net.json", "net.v1.conf"] {
        assert!(name_for(name).as_str() < name, "{}", name_for(name));
        assert!(is_made_by_us(&name_for(name)));
        assert_eq!(shape(&name_for(name)), Some(Shape::List));
    }
    assert!(!is_made_by_us("10-net.conflist"));
    assert_eq!(shape(".sekisho.tmp"), None);
    assert_eq!(shape("README"), None);
}

#[test]
fn what_is_no_configuration_is_left_alone() {
    for text in ["", "{", "[]", "{}", r#"{"plugins": []}"#, r#"{"plugins": {}}"#] {
        assert!(insert(text.as_bytes(), &entry()).is_err(), "{text}");
        assert!(remove(text.as_bytes()).is_err(), "{text}");
        assert!(wrap(text.as_bytes(), &entry()).is_err(), "{text}");
    }
    assert!(wrap(br#"{"type": "bridge"}"#, &entry()).is_err(), "without a name");
}
