//! What an exception from the server means for the caller.

use crate::error::Error;
use crate::stream::Throwable;
use crate::subject::Subject;

/// Exceptions of `javax.management` that only wrap another one.
const WRAPPERS: &[&str] = &[
    "javax.management.MBeanException",
    "javax.management.RuntimeMBeanException",
    "javax.management.RuntimeErrorException",
    "javax.management.RuntimeOperationsException",
    "javax.management.ReflectionException",
    "java.lang.reflect.InvocationTargetException",
    "java.lang.reflect.UndeclaredThrowableException",
];

/// Whether the server has forgotten our session, as it does after an idle time. RMI says so before
/// it hands the call to anything, so the call was certainly not carried out.
pub(crate) fn is_expired_session(thrown: &Throwable) -> bool {
    thrown.is("java.rmi.NoSuchObjectException")
}

/// The error that `thrown` stands for.
pub(crate) fn error_of(thrown: Throwable, subject: &Subject) -> Error {
    let operation = subject.to_string();
    let is_jmx = thrown.is("javax.management.JMException")
        || thrown.is("javax.management.JMRuntimeException");
    // A bean's own SecurityException comes in an exception of JMX. Cassandra wraps that of its
    // authenticator in a RuntimeException.
    if !is_jmx && let Some(denial) = find(&thrown, "java.lang.SecurityException") {
        return Error::Denied {
            operation,
            message: message_of(denial),
        };
    }
    let mbean = || subject.mbean.clone().unwrap_or_default();
    if thrown.is("javax.management.InstanceNotFoundException") {
        return Error::InstanceNotFound { mbean: mbean() };
    }
    if thrown.is("javax.management.AttributeNotFoundException") {
        return Error::AttributeNotFound {
            mbean: mbean(),
            attribute: subject.member.clone(),
        };
    }
    // A bean's own NoSuchMethodException would come in an MBeanException.
    let is_reflection = thrown.is("javax.management.ReflectionException");
    let inner = unwrap(&thrown);
    if is_reflection && inner.is("java.lang.NoSuchMethodException") {
        return Error::OperationNotFound {
            mbean: mbean(),
            operation: format!("{}{}", subject.member, subject.signature),
        };
    }
    if is_jmx {
        return Error::Mbean {
            operation,
            class: inner.class.clone(),
            message: message_of(inner),
        };
    }
    Error::Server {
        operation,
        throwable: Box::new(thrown),
    }
}

fn message_of(thrown: &Throwable) -> String {
    thrown.message.as_ref().unwrap_or(&thrown.class).clone()
}

/// The exception itself or one of its causes, if any is of the class.
fn find<'a>(thrown: &'a Throwable, class: &str) -> Option<&'a Throwable> {
    std::iter::successors(Some(thrown), |outer| outer.cause.as_deref())
        .find(|thrown| thrown.is(class))
}

/// The first exception that is no mere wrapper.
fn unwrap(thrown: &Throwable) -> &Throwable {
    let mut inner = thrown;
    while let (true, Some(cause)) = (WRAPPERS.contains(&inner.class.as_str()), &inner.cause) {
        inner = cause;
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throwable(class: &str, ancestors: &[&str], cause: Option<Throwable>) -> Throwable {
        Throwable {
            class: class.to_owned(),
            ancestors: ancestors.iter().map(|name| (*name).to_owned()).collect(),
            message: Some(format!("message of {class}")),
            cause: cause.map(Box::new),
        }
    }

    fn error(thrown: Throwable) -> Error {
        let subject = Subject {
            signature: "(int)".to_owned(),
            ..Subject::new("operation", "flush", "d:type=T".parse().ok().as_ref())
        };
        error_of(thrown, &subject)
    }

    #[test]
    fn the_beans_own_exception_is_taken_out_of_all_wrappers() {
        let io = throwable("java.io.IOException", &["java.lang.Exception"], None);
        let target = throwable("java.lang.reflect.InvocationTargetException", &[], Some(io));
        let outer = throwable(
            "javax.management.MBeanException",
            &["javax.management.JMException"],
            Some(target),
        );
        match error(outer) {
            Error::Mbean {
                class,
                message,
                operation,
            } => {
                assert_eq!(class, "java.io.IOException");
                assert_eq!(message, "message of java.io.IOException");
                assert_eq!(operation, "operation flush of d:type=T");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_security_exception_of_any_derived_class_is_a_denial() {
        let derived = throwable(
            "java.security.AccessControlException",
            &["java.lang.SecurityException"],
            None,
        );
        assert!(matches!(error(derived), Error::Denied { .. }));
    }

    #[test]
    fn a_denial_is_found_inside_the_exception_that_cassandra_wraps_it_in() {
        let denial = throwable("java.lang.SecurityException", &[], None);
        let outer = throwable("java.lang.RuntimeException", &[], Some(denial.clone()));
        match error(outer) {
            Error::Denied { message, .. } => {
                assert_eq!(message, "message of java.lang.SecurityException");
            }
            other => panic!("{other:?}"),
        }
        let own = throwable(
            "javax.management.RuntimeMBeanException",
            &["javax.management.JMRuntimeException"],
            Some(denial),
        );
        assert!(matches!(error(own), Error::Mbean { .. }));
    }

    #[test]
    fn a_missing_operation_is_told_from_a_failing_one() {
        let missing = throwable("java.lang.NoSuchMethodException", &[], None);
        let reflection = throwable(
            "javax.management.ReflectionException",
            &["javax.management.JMException"],
            Some(missing.clone()),
        );
        match error(reflection) {
            Error::OperationNotFound { operation, .. } => assert_eq!(operation, "flush(int)"),
            other => panic!("{other:?}"),
        }
        let own = throwable(
            "javax.management.MBeanException",
            &["javax.management.JMException"],
            Some(missing),
        );
        assert!(matches!(error(own), Error::Mbean { .. }));
    }

    #[test]
    fn failures_of_rmi_itself_are_the_servers() {
        let remote = throwable(
            "java.rmi.ServerException",
            &["java.rmi.RemoteException"],
            None,
        );
        assert!(matches!(error(remote), Error::Server { .. }));
    }
}
