//! The command that makes a run again.

use std::fmt::Write as _;

use super::setup::Setup;

/// The command that makes this run again. What is as the seed draws it is not said.
#[must_use]
pub fn replay(setup: &Setup) -> String {
    let drawn = Setup::draw(setup.seed);
    let mut command = format!("cargo xtask sim --seed {}", setup.seed);
    let mut add = |text: String| {
        // Writing to a string cannot fail.
        let _ = write!(command, " {text}");
    };
    if setup.nodes != drawn.nodes {
        add(format!("--nodes {}", setup.nodes));
    }
    if setup.clients != drawn.clients {
        add(format!("--clients {}", setup.clients));
    }
    if setup.faults != drawn.faults {
        add(format!("--exactly {}", setup.faults));
    }
    if setup.horizon != drawn.horizon {
        add(format!("--horizon {}", setup.horizon.as_secs_f64()));
    }
    if let Some(only) = &setup.only {
        let names: Vec<String> = only.iter().map(ToString::to_string).collect();
        let names = if names.is_empty() {
            "none".into()
        } else {
            names.join(",")
        };
        add(format!("--only {names}"));
    }
    command
}
