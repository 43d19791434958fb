//! Logs: one line an event on stderr, as text for people or as JSON with stable fields for machines.
//!
//! In JSON each line has `timestamp` (RFC 3339, UTC), `level`, `target`, `message`, and the event's own fields beside
//! them.

use std::{
    fmt,
    io::{self, IsTerminal},
};

use tracing::{Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{
        MakeWriter,
        format::{Writer, debug_fn},
    },
};

use crate::domain::text::{escape, json};

/// What is logged where nothing else is asked for.
pub const DEFAULT_FILTER: &str = "info";

/// What libraries say of errors that they return too, and that we tell in words: silent, unless a filter names them.
const TOLD_BY_US: [(&str, &str); 2] =
    [("kube_client", "kube_client::client=off"), ("kube_runtime", "kube_runtime=off")];

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter.
    #[error("the log filter `{0}` does not parse: write a level such as `debug`, or `info,supercargo::registry=debug`")]
    Filter(String),
    /// Called twice.
    #[error("logging has been set up already")]
    Twice,
}

/// Logs to stderr from now on, for the whole process.
pub fn init(format: Format, filter: &str) -> Result<(), LoggingError> {
    let subscriber = subscriber(format, filter, io::stderr, io::stderr().is_terminal())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)
}

/// What [`init`] installs, with another place to write to.
pub fn subscriber<W>(
    format: Format,
    filter: &str,
    writer: W,
    colour: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let refused = || LoggingError::Filter(filter.to_owned());
    let mut parsed = EnvFilter::builder().parse(filter).map_err(|_| refused())?;
    for (_, silent) in TOLD_BY_US.iter().filter(|(library, _)| !filter.contains(library)) {
        parsed = parsed.add_directive(silent.parse().map_err(|_| refused())?);
    }
    let lines = tracing_subscriber::fmt().with_env_filter(parsed).with_ansi(colour);
    Ok(match format {
        Format::Text => Box::new(lines.fmt_fields(debug_fn(field).delimited(" ")).with_writer(writer).finish()),
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(lines.with_writer(EscapedMaker(writer)).finish())
        }
    })
}

/// One field of a line of text. Whatever its value holds, it is one line, and steers no terminal.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = escape(&format!("{value:?}"));
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => write!(writer, "{value}"),
        (name, true) => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}"),
        (name, false) => write!(writer, "{name}={value}"),
    }
}

/// Where [`Escaped`] lines go.
struct EscapedMaker<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for EscapedMaker<W> {
    type Writer = Escaped<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaped(self.0.make_writer())
    }
}

/// Writes lines of JSON, with what is not seen as escapes.
struct Escaped<W>(W);

impl<W: io::Write> io::Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(json(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::domain::text::is_hidden;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = subscriber(format, filter, move || to.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_of_json_has_stable_fields_and_those_of_the_event() {
        let text = logged(Format::Json, "info", || tracing::warn!(workload = "shop/Deployment/web", "not\nupdated"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.len(), 5, "{text}");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "supercargo::logging::tests");
        assert_eq!(line["message"], "not\nupdated");
        assert_eq!(line["workload"], "shop/Deployment/web");
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_filter_chooses_by_level_and_place() {
        let log = || {
            tracing::debug!("here");
            tracing::debug!(target: "elsewhere", "there");
        };
        assert_eq!(logged(Format::Text, DEFAULT_FILTER, log), "");
        let text = logged(Format::Text, "warn,supercargo=debug", log);
        assert!(text.contains("here") && !text.contains("there"), "{text}");
    }

    #[test]
    fn what_libraries_say_of_errors_that_are_told_in_words_is_shown_only_where_it_is_asked_for() {
        let log = || tracing::warn!(target: "kube_runtime::watcher", "watch list error with 403: Api(Status {{ … }})");
        for filter in [DEFAULT_FILTER, "debug", "supercargo=debug,info"] {
            assert_eq!(logged(Format::Text, filter, log), "", "{filter}");
        }
        assert!(logged(Format::Text, "info,kube_runtime=warn", log).contains("Api(Status"));
    }

    #[test]
    fn a_terminal_is_not_steered_by_what_is_logged() {
        let text = logged(Format::Text, "info", || tracing::info!(tag = "\u{1b}[2J", "\u{1b}]0;x\u{7}"));
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }

    #[rstest::rstest]
    #[case(Format::Text, false)]
    #[case(Format::Text, true)]
    #[case(Format::Json, false)]
    fn foreign_text_begins_no_line_and_hides_nothing(#[case] format: Format, #[case] colour: bool) {
        let nasty = "minor\n2026-01-01T00:00:00Z  INFO forged\r\u{1b}[2J\u{7}\u{9b}\u{202e}\u{2066}\u{2028}\u{feff}";
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = subscriber(format, "info", move || to.clone(), colour).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(policy = %nasty, debug = ?nasty, text = nasty, "said {nasty}");
            tracing::info!("next");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        let ours = if colour { "\u{1b}" } else { "" };
        let seen = |c: char| !is_hidden(c) || c == '\n' || ours.contains(c);
        assert!(text.chars().all(seen), "{text:?}");
        assert!(!text.contains("\u{1b}[2J"), "{text:?}");
        if format == Format::Json {
            let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            assert_eq!(line["policy"], nasty);
        }
    }

    #[test]
    fn a_filter_that_does_not_parse_is_refused() {
        let error = subscriber(Format::Text, "a=b=c", io::sink, false).err().unwrap();
        assert!(error.to_string().contains("`a=b=c`"), "{error}");
    }
}
