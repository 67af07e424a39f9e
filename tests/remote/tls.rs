//! Engines behind TLS: who they are, and who may use them.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::common::root;
use crate::engine::{Engine, Setup};
use crate::project::Project;
use crate::refused::error;
use crate::{PATIENT, SMALL, forget};

/// The path of a certificate or key (`make.sh` there makes them).
fn pem(name: &str) -> PathBuf {
    root().join("tests/remote/certificates").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(pem(name)).expect("a certificate")
}

/// An engine that shows the certificate `name`, and wants one if it is `choosy`.
fn engine(name: &str, choosy: bool) -> Engine {
    let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
    let mut tls =
        ServerTlsConfig::new().identity(Identity::from_pem(text(&certificate), text(&key)));
    if choosy {
        tls = tls.client_ca_root(Certificate::from_pem(text("authority.pem")));
    }
    Engine::start(Setup {
        tls: Some(tls),
        ..Setup::default()
    })
}

fn option(name: &str, path: &Path) -> [String; 2] {
    [name.to_owned(), path.display().to_string()]
}

#[test]
fn engines_and_users_that_are_known_to_each_other_work_together() {
    for choosy in [false, true] {
        let engine = engine("engine", choosy);
        let mut args = vec!["--remote".to_owned(), engine.url()];
        args.extend(option("--remote-ca", &pem("authority.pem")));
        if choosy {
            args.extend(option("--remote-cert", &pem("user.pem")));
            args.extend(option("--remote-key", &pem("user.key")));
        }
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        args.extend(PATIENT);
        let project = Project::of(&SMALL);
        for found in [0, 2] {
            let built = project.build_with(&args);
            forget(&project);
            assert_eq!(built.remote.len(), found, "{built:?}");
            assert_eq!(built.warnings, [""; 0]);
        }
    }
}

#[test]
fn whoever_is_not_trusted_is_an_error_before_work_starts() {
    let authority = pem("authority.pem").display().to_string();
    let ca = ["--remote-ca", &authority];
    for (engine, args, reason) in [
        (engine("expired", false), &ca[..], "xpired"),
        // The system does not know its authority.
        (engine("engine", false), &[], "UnknownIssuer"),
        // Its own words for that may come too late.
        (engine("engine", true), &ca, "ertificate"),
        // It does not speak TLS at all.
        (Engine::start(Setup::default()), &ca, "corrupt message"),
    ] {
        let port = engine.url().rsplit_once(':').expect("a port").1.to_owned();
        let url = format!("grpcs://localhost:{port}");
        let text = error(&[&["--remote", &url], args].concat());
        assert!(text.contains(reason), "{reason}: {text}");
    }
}
