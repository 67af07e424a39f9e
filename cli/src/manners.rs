//! How a run behaves towards the person and the machine that it has: colours, load.

use clap::{Args, ValueEnum};

use crate::limits::{self, Limit};

/// What the user asks for.
#[derive(Args)]
pub(crate) struct Manners {
    /// Whether what backlto says has colours, and clang's messages keep theirs
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Start no more than one backend while the machine's load is as high, as make does
    #[arg(
        short,
        long = "load-average",
        global = true,
        value_name = "LOAD",
        value_parser = limits::load,
        env = "BACKLTO_LOAD_AVERAGE",
        hide_env_values = true
    )]
    load: Option<Limit<f64>>,
}

impl Manners {
    /// The load from which on nothing more is started, if there is one.
    pub(crate) fn load(&self) -> Option<f64> {
        self.load.and_then(Limit::into_inner)
    }
}

/// When there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also in files and pipes
    Always,
    /// Nowhere
    Never,
}

/// Has colours from now on as `when` says.
pub(crate) fn set_colours(when: Color) {
    let choice = match when {
        Color::Auto => return,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}
