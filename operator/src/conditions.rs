//! Conditions of a status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    True,
    False,
    Unknown,
}

impl Is {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Is {
    /// What a condition says.
    pub(crate) fn of(status: &str) -> Self {
        match status {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for Is {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Sets a condition. The time of transition stays while the status does.
pub(crate) fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    is: Is,
    (reason, message): (&str, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    let before = conditions
        .iter_mut()
        .find(|condition| condition.type_ == type_);
    let since = match &before {
        Some(before) if before.status == is.as_str() => before.last_transition_time.clone(),
        _ => Time(now),
    };
    let condition = Condition {
        type_: type_.into(),
        status: is.as_str().into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match before {
        Some(before) => *before = condition,
        None => conditions.push(condition),
    }
}

/// The conditions of a resource that is at work.
pub(crate) fn at_work(
    conditions: &mut Vec<Condition>,
    why: (&str, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    set(conditions, "Complete", Is::Unknown, why, generation, now);
    set(conditions, "Reconciling", Is::True, why, generation, now);
    set(conditions, "Stalled", Is::False, why, generation, now);
}

/// The conditions of a resource whose work has ended; `stalled` if somebody has to do something.
pub(crate) fn ended(
    conditions: &mut Vec<Condition>,
    complete: bool,
    stalled: bool,
    why: (&str, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    set(
        conditions,
        "Complete",
        complete.into(),
        why,
        generation,
        now,
    );
    set(conditions, "Reconciling", Is::False, why, generation, now);
    set(conditions, "Stalled", stalled.into(), why, generation, now);
}

/// What the conditions say, besides when and in which words.
pub(crate) fn gist(conditions: &[Condition]) -> Vec<(&str, &str, &str)> {
    let gist = |it| {
        let Condition {
            type_,
            status,
            reason,
            ..
        }: &Condition = it;
        (type_.as_str(), status.as_str(), reason.as_str())
    };
    conditions.iter().map(gist).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_transition_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        let at = |second| Timestamp::from_second(second).unwrap();
        set(
            &mut conditions,
            "Ready",
            Is::False,
            ("A", ""),
            Some(1),
            at(1),
        );
        set(
            &mut conditions,
            "Ready",
            Is::False,
            ("B", "b"),
            Some(2),
            at(2),
        );
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Time(at(1)));
        assert_eq!(
            (
                conditions[0].reason.as_str(),
                conditions[0].observed_generation
            ),
            ("B", Some(2))
        );
        set(
            &mut conditions,
            "Ready",
            Is::True,
            ("C", ""),
            Some(2),
            at(3),
        );
        assert_eq!(conditions[0].last_transition_time, Time(at(3)));
    }
}
