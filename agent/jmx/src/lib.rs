//! A JMX client without a JVM.
