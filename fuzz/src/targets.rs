//! The targets: each runs a parser on a text and checks what must hold whatever the text is.

use crate::memory::peak_bytes;
use firewarden_diagnostic::render::{Style, render_diagnostics};
use firewarden_diagnostic::{Diagnostic, FileId, SourceMap, Span};
use firewarden_packet::{AtomTable, text as packet_text};
use firewarden_ruleset::ir::dump::dump;
use firewarden_ruleset::lower;
use firewarden_ruleset::syntax::nft::text::NoIncludes;
use firewarden_ruleset::syntax::{ipset, iptables, nft};
use firewarden_verify::Place;
use firewarden_verify::intent::{Names, Senders, conflicts, parse_intent, questions, resolve};
use firewarden_verify::stack::read_stack;

/// Bytes that a run may hold at its peak, whatever the text: tables, atoms, a few diagnostics.
const BYTES_FIXED: usize = 4 << 20;

/// Bytes that a run may hold for each byte of text.
const BYTES_PER_BYTE: usize = 2_000;

/// Diagnostics of one step over one small text.
const DIAGNOSTICS_LIMIT: usize = 20_000;

/// Runs `work` and refuses memory out of proportion to the text.
fn bounded(text: &str, work: impl FnOnce()) {
    let ((), peak) = peak_bytes(work);
    let allowed = BYTES_FIXED + BYTES_PER_BYTE * text.len();
    assert!(peak <= allowed, "{peak} bytes at the peak for {} bytes of text", text.len());
}

/// Checks that diagnostics can be shown, and say where and what to do.
fn presentable(diagnostics: &[Diagnostic], text: &str) {
    assert!(diagnostics.len() <= DIAGNOSTICS_LIMIT, "{} diagnostics", diagnostics.len());
    let mut sources = SourceMap::default();
    sources.add("input", text);
    for diagnostic in diagnostics {
        assert!(!diagnostic.message.is_empty(), "a diagnostic without words: {diagnostic:?}");
        assert!(diagnostic.span().is_some(), "a diagnostic without a place: {diagnostic:?}");
        assert!(diagnostic.help.is_some(), "a diagnostic without a remedy: {diagnostic:?}");
        for label in &diagnostic.labels {
            let Span { start, end, .. } = label.span;
            let slice = text.get(start as usize..end as usize);
            assert!(slice.is_some(), "a place that isn't in the text: {diagnostic:?}");
        }
    }
    let first = diagnostics.get(..diagnostics.len().min(5)).unwrap_or_default();
    let shown = render_diagnostics(first, &sources, Style::Plain);
    assert!(!shown.contains('\u{1b}'), "control characters of the input reach the terminal: {shown:?}");
}

/// nft text: parser and lowering.
pub fn nft_text(text: &str) {
    bounded(text, || {
        let (script, diagnostics) = nft::text::parse(FileId(0), text, &mut NoIncludes);
        presentable(&diagnostics, text);
        lower_nft(script, text);
    });
}

/// nft JSON: reader and lowering.
pub fn nft_json(text: &str) {
    bounded(text, || {
        let (script, diagnostics) = nft::json::parse(FileId(0), text);
        presentable(&diagnostics, text);
        lower_nft(script, text);
    });
}

fn lower_nft(script: nft::ast::Script, text: &str) {
    let mut atoms = AtomTable::default();
    let options = lower::nft::LowerOptions { scope: "host" };
    let (ruleset, diagnostics) = lower::nft::lower(vec![script], &options, &mut atoms);
    presentable(&diagnostics, text);
    std::hint::black_box(dump(&ruleset, &atoms));
}

/// iptables-save: parser and lowering.
pub fn iptables_save(text: &str) {
    bounded(text, || {
        let (save, diagnostics) = iptables::parse(FileId(0), text);
        presentable(&diagnostics, text);
        let mut atoms = AtomTable::default();
        let options = lower::iptables::LowerOptions { scope: "host", ..Default::default() };
        let (ruleset, diagnostics) = lower::iptables::lower(&[save], &[], &options, &mut atoms);
        presentable(&diagnostics, text);
        std::hint::black_box(dump(&ruleset, &atoms));
    });
}

/// ipset save: parser, and lowering of rules that ask its sets.
pub fn ipset_save(text: &str) {
    const RULES: &str = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m set --match-set a src -j DROP\n\
                         -A INPUT -p tcp -m set --match-set b src,dst,src -j DROP\nCOMMIT\n";
    bounded(text, || {
        let (sets, diagnostics) = ipset::parse(FileId(0), text);
        presentable(&diagnostics, text);
        let (save, _) = iptables::parse(FileId(1), RULES);
        let mut atoms = AtomTable::default();
        let options = lower::iptables::LowerOptions { scope: "host", ..Default::default() };
        let (ruleset, _) = lower::iptables::lower(&[save], &[sets], &options, &mut atoms);
        std::hint::black_box(dump(&ruleset, &atoms));
    });
}

/// The stack file, with its intents looked up and turned into questions.
pub fn stack_file(text: &str) {
    bounded(text, || {
        let (stack, diagnostics) = read_stack(FileId(0), text);
        presentable(&diagnostics, text);
        let names = Names::new(&stack);
        let mut resolved = Vec::new();
        for (index, intent) in stack.intents.iter().enumerate() {
            match resolve(intent, &names) {
                Ok(intent) => resolved.push((index, intent)),
                Err(errors) => presentable(&errors, text),
            }
        }
        presentable(&conflicts(&stack.intents, &resolved), text);
        for (_, intent) in &resolved {
            std::hint::black_box(questions(intent, &stack, &[0], &Senders::default()));
        }
    });
}

/// An intent. What is read must be read again, the same, from its own text.
pub fn intent(text: &str) {
    bounded(text, || {
        let place = Place::exact(Span::new(FileId(0), 0, text.len()));
        match parse_intent(text, place, None) {
            Err(problem) => presentable(&[*problem], text),
            Ok(intent) => {
                let full = intent.full_text();
                let place = Place::exact(Span::new(FileId(0), 0, full.len()));
                let again = parse_intent(&full, place, None).map(|intent| intent.full_text());
                assert_eq!(again.as_deref(), Ok(full.as_str()), "{text:?}");
            }
        }
    });
}

/// A packet. What is read must be written so that it reads as the same packet.
pub fn packet(text: &str) {
    bounded(text, || match packet_text::parse(text) {
        Err(problem) => {
            assert!(text.is_char_boundary(problem.offset), "offset {} in {text:?}", problem.offset);
            assert!(!problem.message.is_empty() && !problem.help.is_empty(), "{problem:?}");
        }
        Ok(point) => {
            let written = packet_text::format(&point, &AtomTable::default());
            assert_eq!(packet_text::parse(&written).as_ref(), Ok(&point), "{text:?} became {written:?}");
        }
    });
}
