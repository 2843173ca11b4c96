//! A load in another process: where the users are is another network namespace than where the drill is directed from.

use super::{Line, LoadError, Options, send};
use crate::series::Series;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest line of options that is read, in bytes.
const MAX_OPTIONS: u64 = 16 << 20;

/// How much longer than its timeout a load may take to stop.
const GRACE: Duration = Duration::from_secs(30);

/// A load that runs. Dropped, it is ended.
pub struct Running {
    child: Child,
    /// Closing it tells the process to stop; so does the death of this one.
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    result: mpsc::Receiver<Result<Series, LoadError>>,
    timeout: Duration,
}

impl Running {
    /// Starts `command`, which has to run [`serve`] on its standard input and output, and gives each line to `on_line` as
    /// it comes, on a thread of its own. The command's standard error stays as it is.
    pub fn start(
        mut command: Command,
        options: &Options,
        on_line: impl FnMut(&Line) + Send + 'static,
    ) -> Result<Running, LoadError> {
        let failed = |what| move |error| LoadError::Process { what, error };
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(failed("cannot start the load"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let (told, result) = mpsc::channel();
        let timeout = Duration::from_millis(options.timeout_milliseconds);
        let mut running = Running { child, stdin, reader: None, result, timeout };
        // Made of strings, numbers and lists, which always serialize.
        let line = serde_json::to_string(options).unwrap_or_default() + "\n";
        let stdin = running.stdin.as_mut().ok_or_else(|| LoadError::Ended(String::new()))?;
        stdin.write_all(line.as_bytes()).map_err(failed("cannot tell the load its options"))?;
        if let Some(stdout) = stdout {
            let reader = std::thread::Builder::new().name("load".to_owned());
            let reader = reader.spawn(move || {
                // Nobody listens only when the load is being dropped.
                let _ = told.send(read(BufReader::new(stdout), on_line));
            });
            running.reader = Some(reader.map_err(failed("cannot start a thread"))?);
        }
        Ok(running)
    }

    /// Waits until the load ends by itself.
    pub fn wait(mut self) -> Result<Series, LoadError> {
        let result = self.result.recv().unwrap_or_else(|_| Err(LoadError::Ended(String::new())));
        self.end(result)
    }

    /// Tells the load to stop, and waits for the requests under way: at most their timeout and half a minute.
    pub fn stop(mut self) -> Result<Series, LoadError> {
        self.stdin = None;
        let result = self.result.recv_timeout(self.timeout + GRACE);
        self.end(result.unwrap_or_else(|_| Err(LoadError::Ended(": it didn't stop in time".to_owned()))))
    }

    fn end(&mut self, result: Result<Series, LoadError>) -> Result<Series, LoadError> {
        self.stdin = None;
        if result.is_err() {
            // It has nothing more to say.
            let _ = self.child.kill();
        }
        let status = self.child.wait();
        match (result, status) {
            (Err(LoadError::Ended(why)), Ok(status)) if why.is_empty() => {
                Err(LoadError::Ended(format!(": {status}")))
            }
            (result, _) => result,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stdin = None;
        // A load that hears the end of its input ends by itself within its timeout; whoever drops it doesn't want to wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read(lines: impl BufRead, mut on_line: impl FnMut(&Line)) -> Result<Series, LoadError> {
    for line in lines.lines() {
        let text = line.map_err(|error| LoadError::Process { what: "cannot read from the load", error })?;
        let line = serde_json::from_str(&text).map_err(|error| LoadError::Line {
            line: text.chars().take(120).collect(),
            reason: error.to_string(),
        })?;
        on_line(&line);
        if let Line::End(series) = line {
            return Ok(series);
        }
    }
    Err(LoadError::Ended(String::new()))
}

/// What the process of a load does: reads [`Options`] as one line of JSON from standard input, sends, and writes lines to
/// standard output until the time is over or standard input ends.
pub fn serve() -> Result<(), LoadError> {
    let failed = |what| move |error| LoadError::Process { what, error };
    let mut text = String::new();
    let mut stdin = BufReader::new(std::io::stdin());
    stdin.by_ref().take(MAX_OPTIONS).read_line(&mut text).map_err(failed("cannot read the options"))?;
    let options: Options = serde_json::from_str(&text).map_err(|error| LoadError::Line {
        line: text.chars().take(120).collect(),
        reason: error.to_string(),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("cannot start the client"))?;
    let (ended, input) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("standard input".to_owned())
        .spawn(move || {
            // Its end is what counts, and an error is one too.
            let _ = std::io::copy(&mut stdin, &mut std::io::sink());
            let _ = ended.send(());
        })
        .map_err(failed("cannot start a thread"))?;
    let stop = async {
        let _ = input.await;
    };
    let mut stdout = std::io::stdout();
    // Nobody reads any more: the end of standard input comes with it.
    let mut say = |line: &Line| {
        let _ = writeln!(stdout, "{}", line.json()).and_then(|()| stdout.flush());
    };
    let series = runtime.block_on(send(&options, stop, &mut say))?;
    say(&Line::End(series));
    Ok(())
}
