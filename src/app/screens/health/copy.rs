//! What the Health screen puts on the clipboard.

use crate::{
    analysis::check::{Finding, summary},
    app::App,
    text::line,
};

/// The finding at the cursor.
pub(super) fn finding(app: &App) -> Option<String> {
    let health = &app.rooms.health;
    health.chosen().map(row)
}

/// Everything that was found, as a table.
pub(super) fn report(app: &App) -> Option<String> {
    let findings = &app.rooms.health.findings;
    let rows: String = findings.iter().map(|finding| row(finding) + "\n").collect();
    (!findings.is_empty()).then(|| format!("{}\nverdict\tcheck\twhere\tfound\n{rows}", summary(findings)))
}

fn row(finding: &Finding) -> String {
    let place = line(finding.place.as_deref().unwrap_or_default());
    format!("{}\t{}\t{place}\t{}", finding.verdict.name(), finding.check, line(&finding.text))
}
