//! The page holds the whole trace, and needs nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::page;
use crate::sim::{Faults, Setup, Violation, run_kv, trace_json};

fn setup() -> Setup {
    let mut setup = Setup::draw(3);
    setup.nodes = 3;
    setup.horizon = Duration::from_secs(5);
    setup.faults = "kill,power,partition,loss".parse::<Faults>().unwrap();
    setup
}

/// What `model.js` does.
fn unpack(value: &Value, data: &Value) -> Value {
    let Some(items) = value.as_array() else {
        return value.clone();
    };
    let rest = &items[1..];
    match items[0].as_i64().unwrap() {
        -1 => rest.iter().map(|item| unpack(item, data)).collect(),
        -2 => unpack(&data["values"][rest[0].as_u64().unwrap() as usize], data),
        shape => {
            let shape = data["shapes"][shape as usize].as_array().unwrap();
            let mut rest = rest.iter();
            let mut object = Map::new();
            for field in shape {
                let name = field[0].as_str().unwrap().to_owned();
                let value = match &field[1] {
                    Value::Null => unpack(rest.next().unwrap(), data),
                    word => word.clone(),
                };
                object.insert(name, value);
            }
            assert_eq!(rest.next(), None);
            Value::Object(object)
        }
    }
}

fn data(page: &str) -> Value {
    let (_, behind) = page.split_once("id=\"run\">").unwrap();
    let (data, _) = behind.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn what_is_packed_is_every_line_of_the_trace() {
    let report = run_kv(&setup(), true);
    let data = data(&page(&report));
    let mut written = Vec::new();
    trace_json::write(&report.records, &mut written).unwrap();
    let text = String::from_utf8(written).unwrap();
    let (mut step, mut time) = (data["about"]["first_step"].as_u64().unwrap(), 0);
    let mut states: BTreeMap<u64, Value> = BTreeMap::new();
    let mut packed = data["records"].as_array().unwrap().iter();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let mut record = unpack(packed.next().unwrap(), &data);
        let fields = record.as_object_mut().unwrap();
        time += fields.remove("since_ns").unwrap().as_u64().unwrap();
        fields.insert("time_ns".into(), time.into());
        fields.insert("step".into(), step.into());
        step += 1;
        if let Some(node) = fields["node"].as_u64() {
            let state = states.entry(node).or_default();
            match &fields["state"] {
                Value::Object(changed) if state.is_null() => *state = changed.clone().into(),
                Value::Object(changed) => state.as_object_mut().unwrap().extend(changed.clone()),
                Value::Null => *state = Value::Null,
                unchanged => assert_eq!(unchanged, 0),
            }
            fields.insert("state".into(), state.clone());
        }
        assert_eq!(record, line);
    }
    assert_eq!(packed.next(), None);
}

#[test]
fn a_violation_and_the_command_that_replays_it_stand_in_the_page() {
    let mut report = run_kv(&setup(), true);
    report.violation = Some(Violation {
        invariant: "I0 nothing is wrong",
        what: "</script> was found".into(),
    });
    let page = page(&report);
    let about = &data(&page)["about"];
    assert_eq!(about["violation"]["what"], "</script> was found");
    let command = about["command"].as_str().unwrap();
    assert!(command.starts_with("cargo xtask sim --seed 3"), "{command}");
    assert!(command.contains("--exactly loss,partition,kill,power --horizon 5"));
}

#[test]
fn the_page_needs_nothing_from_anywhere() {
    let page = page(&run_kv(&setup(), true));
    for outside in ["http:", "https:", "src=", "href=", "@import", "url(", "{{"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(
        page.matches("<script").count(),
        page.matches("</script>").count()
    );
}
