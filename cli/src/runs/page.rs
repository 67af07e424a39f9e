//! The page of a report: one HTML file with its data, which loads nothing.
//!
//! The data is JSON within the page (docs/report.schema.json), so that a page can be read
//! back, to compare another run with it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::data::{Run, VERSION};
use super::findings::{self, Findings};
use super::review::Review;
use backlto::emit;
use backlto::error::Result;

/// All that a page says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// What is worth saying, in sentences.
    pub(crate) findings: Findings,
    /// What they are about.
    #[serde(flatten)]
    pub(crate) review: Review,
}

/// Parts of the page, in their order, with what stands in its frame in their place.
const PARTS: [(&str, &str); 4] = [
    (
        "/* library style */",
        include_str!("../../assets/report/uplot/uPlot.min.css"),
    ),
    ("/* style */", include_str!("../../assets/report/style.css")),
    (
        "/* licence */",
        include_str!("../../assets/report/uplot/LICENSE"),
    ),
    (
        "/* library */",
        include_str!("../../assets/report/uplot/uPlot.iife.min.js"),
    ),
];
/// The page's own scripts, in the order in which they need each other.
const SCRIPTS: [&str; 5] = [
    include_str!("../../assets/report/data.js"),
    include_str!("../../assets/report/table.js"),
    include_str!("../../assets/report/charts.js"),
    include_str!("../../assets/report/timeline.js"),
    include_str!("../../assets/report/page.js"),
];
const FRAME: &str = include_str!("../../assets/report/page.html");
const DATA: &str = "/* data */";
const SCRIPT: &str = "/* script */";
/// What stands before the data of a page, and behind it.
const AROUND_DATA: (&str, &str) = (
    "<script type=\"application/json\" id=\"data\">",
    "</script>",
);

impl Report {
    /// What there is to say of `run`, and of how it differs from the run `other`.
    pub(crate) fn of(run: Run, other: Option<&Run>) -> Report {
        let review = Review::of(run, other);
        Report {
            version: VERSION,
            findings: findings::of(&review),
            review,
        }
    }

    /// Writes the page to `path`, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written; what was there before stays.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        emit::write(path, self.html().as_bytes())
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The page.
    fn html(&self) -> String {
        let mut page = String::with_capacity(FRAME.len());
        // What has gone in is not looked through: modules may be called as the places are.
        let mut rest = FRAME;
        let script = SCRIPTS.concat();
        let data = within_html(&self.json());
        let parts = PARTS.into_iter();
        for (place, text) in parts.chain([(DATA, &*data), (SCRIPT, &*script)]) {
            let (before, after) = rest.split_once(place).unwrap_or((rest, ""));
            page.extend([before, text]);
            rest = after;
        }
        page + rest
    }
}

/// `json` as it may stand in a script of a page: nothing in it ends that, or begins a
/// comment of HTML. `<` stands in strings alone.
fn within_html(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// The data in the page `html`, if it is one.
pub(crate) fn data_of(html: &str) -> Option<&str> {
    let (_, data) = html.split_once(AROUND_DATA.0)?;
    let (data, _) = data.split_once(AROUND_DATA.1)?;
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::data::Module;

    fn report(names: &[&str]) -> Report {
        let module = |name: &&str| Module {
            name: (*name).to_owned(),
            why: vec![format!("`{name}` changed")],
            ..Module::default()
        };
        let run = Run {
            version: VERSION,
            workers: 1,
            places: vec![String::new()],
            modules: names.iter().map(module).collect(),
            ..Run::default()
        };
        Report::of(run, None)
    }

    #[test]
    fn whatever_modules_are_called_the_page_holds_its_data_and_no_more_scripts() {
        let names = [
            "a.o",
            "</script><script>alert(1)</script>",
            "<!--<script>",
            "größe/Ä.o",
            "/* script */",
            "/* data */",
            "\u{2028}\"'&\\.o",
        ];
        let plain = report(&["a.o"]).html();
        let report = report(&names);
        let html = report.html();
        let data = data_of(&html).expect("the data");
        assert!(!data.contains('<'), "{data}");
        assert_eq!(serde_json::from_str::<Report>(data).unwrap(), report);
        for word in ["<script", "</script", "<!--"] {
            let count = |html: &str| html.matches(word).count();
            assert_eq!(count(&html), count(&plain), "{word}");
        }
    }

    #[test]
    fn the_page_is_whole_and_loads_nothing() {
        let html = report(&["a.o"]).html();
        let places = PARTS.iter().map(|(place, _)| *place);
        for place in places.chain([DATA, SCRIPT]) {
            assert_eq!(FRAME.matches(place).count(), 1, "{place}");
            assert!(!html.contains(place), "{place}");
        }
        assert!(html.ends_with("</html>\n"), "{}", &html[html.len() - 80..]);
        assert!(html.contains("default-src 'none'"));
        for loads in [
            "src=",
            "href=\"http",
            "@import",
            "url(",
            "fetch(",
            "import(",
        ] {
            assert!(!html.contains(loads), "{loads}");
        }
        for (_, script) in PARTS {
            assert!(!script.contains("</script"));
        }
        assert!(html.len() < 300_000, "{} bytes", html.len());
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        report(&["ü.o"]).write(&path).unwrap();
        let html = std::fs::read_to_string(&path).unwrap();
        assert!(data_of(&html).is_some());
        assert_eq!(data_of("<p>something else"), None);

        let missing = directory.path().join("missing/report.html");
        let error = report(&["a.o"]).write(&missing).unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
    }
}
