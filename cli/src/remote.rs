//! The options about an engine on another machine.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::limits::{self, Limit};
use backlto::RemoteOptions;
use backlto::error::{Error, Kind, Result};
use backlto::remote::{ExecutionOptions, Header};
use clap::Args;

#[derive(Args)]
#[command(next_help_heading = "Remote engine")]
pub(crate) struct Remote {
    /// A cache on another machine, any engine that speaks the Remote Execution API:
    /// grpc://HOST[:PORT][/INSTANCE], or grpcs:// for TLS
    #[arg(
        long = "remote",
        global = true,
        value_name = "URL",
        env = "BACKLTO_REMOTE",
        hide_env_values = true
    )]
    url: Option<String>,
    /// A header of every call, such as the engine's key; @FILE in place of V reads it from
    /// there, so that no list of processes shows it
    #[arg(
        long = "remote-header",
        global = true,
        value_name = "K=V",
        value_delimiter = '\n',
        env = "BACKLTO_REMOTE_HEADER",
        hide_env_values = true
    )]
    headers: Vec<String>,
    /// The certificates to trust (PEM) [default: the system's]
    #[arg(
        long = "remote-ca",
        global = true,
        value_name = "FILE",
        env = "BACKLTO_REMOTE_CA",
        hide_env_values = true
    )]
    authorities: Option<OsString>,
    /// The certificate that says who we are (PEM); needs --remote-key
    #[arg(
        long = "remote-cert",
        global = true,
        value_name = "FILE",
        env = "BACKLTO_REMOTE_CERT",
        hide_env_values = true
    )]
    certificate: Option<OsString>,
    /// The private key of --remote-cert (PEM)
    #[arg(
        long = "remote-key",
        global = true,
        value_name = "FILE",
        env = "BACKLTO_REMOTE_KEY",
        hide_env_values = true
    )]
    key: Option<OsString>,
    /// How long a job waits for an answer before it is compiled [default: a small part of
    /// what its compile is expected to take]
    #[arg(
        long = "remote-wait",
        global = true,
        value_name = "SECONDS",
        value_parser = limits::wait,
        env = "BACKLTO_REMOTE_WAIT",
        hide_env_values = true
    )]
    wait: Option<Limit<Duration>>,
    /// Whether objects that are not there are uploaded: who may do that decides what
    /// others link [default: yes]
    #[arg(
        long = "remote-upload",
        global = true,
        value_name = "yes|no",
        value_parser = limits::yes_or_no,
        env = "BACKLTO_REMOTE_UPLOAD",
        hide_env_values = true
    )]
    uploads: Option<Limit<bool>>,
    /// How long the end of a build waits for the last uploads [default: a hundredth of
    /// the build, from 0.1 to 1]
    #[arg(
        long = "remote-linger",
        global = true,
        value_name = "SECONDS",
        value_parser = limits::wait,
        env = "BACKLTO_REMOTE_LINGER",
        hide_env_values = true
    )]
    linger: Option<Limit<Duration>>,
    /// Have the engine compile, too, so many actions at a time, where that is sooner
    /// [default: none, it is a cache alone]
    #[arg(
        long = "remote-jobs",
        global = true,
        value_name = "N",
        value_parser = limits::lots,
        env = "BACKLTO_REMOTE_JOBS",
        hide_env_values = true
    )]
    lots: Option<Limit<NonZeroUsize>>,
    /// The path of this build of backlto on machines of the engine, such as in a container
    /// image [default: this program is uploaded]
    #[arg(
        long = "remote-compiler",
        global = true,
        value_name = "PATH",
        env = "BACKLTO_REMOTE_COMPILER",
        hide_env_values = true
    )]
    compiler: Option<String>,
    /// What machines of the engine must have to compile for us, such as OSFamily=linux
    #[arg(
        long = "remote-platform",
        global = true,
        value_name = "K=V",
        value_delimiter = '\n',
        env = "BACKLTO_REMOTE_PLATFORM",
        hide_env_values = true
    )]
    platform: Vec<String>,
    /// Have the engine compile nothing, whatever $BACKLTO_REMOTE_JOBS says
    #[arg(long = "remote-cache-only", global = true)]
    cache_only: bool,
}

impl Remote {
    /// What the engine is to be used as, if there is one.
    ///
    /// # Errors
    /// When a header is none or cannot be read, or a certificate has no key.
    pub(crate) fn options(&self) -> Result<Option<RemoteOptions>> {
        let named = |name: &Option<OsString>| {
            let name = name.as_ref().filter(|name| !name.is_empty());
            name.map(PathBuf::from)
        };
        let Some(url) = self.url.as_ref().filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let identity = match (named(&self.certificate), named(&self.key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let text = "--remote-cert and --remote-key need each other";
                return Err(Error::new(Kind::Environment, text));
            }
        };
        let given = self.headers.iter().filter(|header| !header.is_empty());
        let defaults = RemoteOptions::new(url);
        Ok(Some(RemoteOptions {
            headers: given
                .map(|header| read_header(header))
                .collect::<Result<_>>()?,
            certificate_authorities: named(&self.authorities),
            identity,
            wait: self.wait.and_then(Limit::into_inner),
            uploads: self
                .uploads
                .and_then(Limit::into_inner)
                .unwrap_or(defaults.uploads),
            linger: self.linger.and_then(Limit::into_inner),
            execution: self.execution()?,
            ..defaults
        }))
    }

    /// How the engine is to compile, if it is to.
    ///
    /// # Errors
    /// When the path of a program or a property of its machines is none.
    fn execution(&self) -> Result<Option<ExecutionOptions>> {
        let lots = self.lots.and_then(Limit::into_inner);
        let Some(lots) = lots.filter(|_| !self.cache_only) else {
            return Ok(None);
        };
        let given = self.platform.iter().filter(|text| !text.is_empty());
        let platform = given.map(|text| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => {
                let text = format!("--remote-platform `{text}` is not K=V");
                Err(Error::new(Kind::Environment, text))
            }
        });
        let compiler = self.compiler.as_ref().filter(|path| !path.is_empty());
        if let Some(path) = compiler.filter(|path| !path.contains('/')) {
            let text = format!("--remote-compiler `{path}` is not the path of a program");
            let hint = "say where a backlto of this very build is on the machines of the engine";
            return Err(Error::new(Kind::Environment, text).hint(hint));
        }
        Ok(Some(ExecutionOptions {
            program: compiler.cloned(),
            platform: platform.collect::<Result<_>>()?,
            ..ExecutionOptions::new(lots)
        }))
    }
}

/// Reads `text`, which is K=V or K=@FILE. It is not shown: it may be a secret.
fn read_header(text: &str) -> Result<Header> {
    let Some((name, value)) = text.split_once('=') else {
        let text = "a --remote-header is not K=V";
        return Err(Error::new(Kind::Environment, text)
            .hint("write the name, =, and the value or @ and the name of a file that has it"));
    };
    let Some(path) = value.strip_prefix('@') else {
        return Ok(Header::new(name, value));
    };
    let value = backlto::files::read_text(path.as_ref()).map_err(|e| {
        let text = format!("cannot read the value of the header `{name}` from `{path}`");
        Error::new(Kind::Environment, text).because(e)
    })?;
    Ok(Header::new(name, value.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        remote: Remote,
    }

    #[test]
    fn what_is_given_as_nothing_is_as_good_as_not_given() {
        let options = |args: &[&str]| {
            let args = ["x", "--remote", "grpc://host"].iter().chain(args);
            let program = Program::try_parse_from(args).expect("options");
            format!("{:?}", program.remote.options().ok())
        };
        let names = [
            "header", "ca", "cert", "key", "upload", "linger", "wait", "jobs", "compiler",
            "platform",
        ];
        let empty = names.map(|name| format!("--remote-{name}="));
        assert_eq!(options(&empty.each_ref().map(String::as_str)), options(&[]));
        assert_ne!(options(&["--remote-upload=no"]), options(&[]));
        assert!(Program::try_parse_from(["x", "--remote-upload=maybe"]).is_err());
    }

    #[test]
    fn the_engine_compiles_where_that_is_asked_for() {
        let execution = |args: &[&str]| {
            let args = ["x", "--remote", "grpc://host"].iter().chain(args);
            let program = Program::try_parse_from(args).expect("options");
            program
                .remote
                .options()
                .map(|options| options.expect("an engine").execution)
        };
        let platform = "--remote-platform=a=b=c";
        assert!(execution(&[platform]).is_ok_and(|execution| execution.is_none()));
        let compiler = "--remote-compiler=/usr/bin/backlto";
        let asked = execution(&["--remote-jobs=7", platform, compiler]).expect("options");
        let asked = asked.expect("it compiles");
        assert_eq!(asked.lots.get(), 7);
        assert_eq!(asked.program.as_deref(), Some("/usr/bin/backlto"));
        assert_eq!(asked.platform, [("a".to_owned(), "b=c".to_owned())]);
        let only = execution(&["--remote-jobs=7", "--remote-cache-only"]);
        assert!(only.is_ok_and(|execution| execution.is_none()));
        for wrong in ["--remote-platform=a", "--remote-compiler=clang"] {
            assert!(execution(&["--remote-jobs=7", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_header_may_come_from_a_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, "hush\n").expect("it is written");
        let text = format!("x-api-key=@{}", file.path().display());
        assert!(read_header(&text).ok() == Some(Header::new("x-api-key", "hush")));
        assert!(read_header("a=b=c").ok() == Some(Header::new("a", "b=c")));
        for wrong in ["hush", "x-api-key=@/no/such/hush"] {
            let error = read_header(wrong).expect_err(wrong);
            assert!(wrong.contains('@') || !error.to_string().contains("hush"));
        }
    }
}
