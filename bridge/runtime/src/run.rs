//! The loop: rounds, commits and checkpoints, until the goal is reached or somebody says stop.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use tidegate_core::{Frontier, Position, SourceId, ViewName};
use tidegate_engine::{Program, RebuildScope};

use crate::delivery::{Aside, Driver};
use crate::error::SinkBehind;
use crate::goal::Goal;
use crate::log::header::RecordKind;
use crate::observer::Progress;
use crate::pipeline::{Change, Pipeline};
use crate::recovery::views_json;
use crate::round::LONGEST_SLEEP;
use crate::summary::RunSummary;
use crate::{RunUntil, RuntimeError, StopSignal};

impl Pipeline {
    /// Catches up with the sources' present positions, commits to every sink, and saves.
    pub async fn run_once(&mut self) -> Result<RunSummary, RuntimeError> {
        self.run(RunUntil::Once, StopSignal::new()).await
    }

    /// Runs until the goal is reached or `stop` is given; ends with every sink brought up to date
    /// and a checkpoint. After an error the pipeline must be opened again.
    pub async fn run(&mut self, until: RunUntil, stop: StopSignal) -> Result<RunSummary, RuntimeError> {
        let started = Instant::now();
        self.summary = RunSummary::default();
        if let Some(program) = self.engine.program() {
            self.observer.notify(Progress::Program(program));
            self.observer.notify(Progress::Status(&self.status()));
        }
        let result = self.run_until(&until, &stop).await;
        self.cancel_polls().await;
        if result.is_ok() || self.last.is_some() {
            // The status is for people; an error of the run is more important than one of this.
            let written = self.write_status().await;
            if result.is_ok() {
                written?;
            }
        }
        result?;
        self.summary.epoch = self.epoch();
        self.summary.frontier = self.positions.clone();
        self.summary.elapsed_ms = started.elapsed();
        if let Some(program) = self.engine.program() {
            for view in program.views() {
                self.summary.view_rows.entry(view.info.name.clone()).or_default();
            }
        }
        Ok(self.summary.clone())
    }

    async fn run_until(&mut self, until: &RunUntil, stop: &StopSignal) -> Result<(), RuntimeError> {
        let endless = matches!(until, RunUntil::Stopped | RunUntil::Epoch(_));
        self.run_time = (!endless).then(|| self.config.clock.now());
        // An earlier run may have been dropped in the middle of something.
        self.cancel_polls().await;
        for feed in &mut self.feeds {
            feed.asked = false;
            feed.idle_since = None;
        }
        if let RunUntil::Frontier(frontier) = until {
            self.load_no_further(frontier, stop).await?;
        }
        self.forget_ends();
        self.apply_change(stop).await?;
        self.deliver_replacements().await?;
        let mut goal = self.goal(until).await?;
        if !goal.awaited.is_empty() {
            self.run_time = None;
        }
        self.find_past().await?;
        let mut last_epoch_at: Option<Instant> = None;
        while !stop.is_stopped() && !self.is_reached(until, &goal) {
            if !goal.at_once
                && let Some(at) = last_epoch_at
            {
                sleep(self.config.epoch_interval.saturating_sub(at.elapsed()), stop).await;
            }
            if self.hold_back(&goal, stop).await? {
                self.keep_house(&goal).await?;
                continue;
            }
            let before = self.epoch();
            if !self.replay_next().await? {
                self.round(&goal, stop).await?;
            }
            if self.epoch() > before {
                last_epoch_at = Some(Instant::now());
            }
            if matches!(self.change, Change::Later) && self.is_caught_up() {
                self.plan_later(stop).await?;
            }
            self.keep_house(&goal).await?;
            self.look_at_awaited(&mut goal);
        }
        self.cancel_polls().await;
        if let Some(source) = goal.awaited.first() {
            self.finish(until, stop).await?;
            return Err(RuntimeError::StoppedWhileWaiting { source_id: source.clone() });
        }
        if goal.at_once && !stop.is_stopped() {
            self.tick_once().await?;
        }
        if !matches!(until, RunUntil::Stopped) {
            self.compare_before_the_end(stop).await?;
        }
        self.finish(until, stop).await
    }

    /// An initial load, which was planned at the sources' ends, must not go beyond the goal.
    async fn load_no_further(&mut self, goal: &Frontier, stop: &StopSignal) -> Result<(), RuntimeError> {
        let Change::Load(_, planned) = &self.change else { return Ok(()) };
        let beyond = |id: &SourceId, at: &Position| {
            goal.get(id).is_some_and(|bound| at.compare(bound).is_some_and(Ordering::is_gt))
        };
        if !planned.iter().any(|(id, at)| beyond(id, at)) {
            return Ok(());
        }
        let bounded = planned.iter().map(|(id, at)| {
            let bound = goal.get(id).filter(|_| beyond(id, at)).unwrap_or(at);
            (id.clone(), *bound)
        });
        let (program, positions) = self.plan_at(&bounded.collect(), stop).await?.into_result()?;
        self.change = Change::Load(Box::new(program), positions);
        Ok(())
    }

    /// The views of a program that the engine would build anew.
    pub(crate) fn would_rebuild(&self, program: &Program) -> Result<Vec<ViewName>, RuntimeError> {
        self.engine.would_rebuild(program).map_err(RuntimeError::engine("comparing the views with those there are"))
    }

    /// Builds what is new or different before the first poll.
    pub(crate) async fn apply_change(&mut self, stop: &StopSignal) -> Result<(), RuntimeError> {
        let here = self.positions.clone();
        let (program, scope, kind, positions) = match std::mem::replace(&mut self.change, Change::None) {
            Change::None => return Ok(()),
            Change::Later => {
                self.change = Change::Later;
                return Ok(());
            }
            Change::Load(program, positions) => (*program, RebuildScope::All, RecordKind::Load, positions),
            Change::Afresh(program, positions) => (*program, RebuildScope::All, RecordKind::Rebuild, positions),
            Change::RebuildAll(program, at) => (*program, RebuildScope::All, RecordKind::Rebuild, here.join(&at)),
            Change::Workers => match self.engine.program().cloned() {
                Some(program) => (program, RebuildScope::Changed, RecordKind::Rebuild, here),
                None => return Ok(()),
            },
            Change::Rebuild(program, at) => {
                let present = self.engine.program().map_or(0, |present| present.views().len());
                if present == program.views().len() && self.would_rebuild(&program)?.is_empty() {
                    // The views mean the same, whatever their texts say.
                    self.observer.notify(Progress::Program(&program));
                    return Ok(());
                }
                if let Some(beside) = self.beside.take()
                    && self.adopt(beside, &program).await?
                {
                    return Ok(());
                }
                (*program, RebuildScope::Changed, RecordKind::Rebuild, here.join(&at))
            }
        };
        self.rebuild(program, scope, kind, positions, stop).await
    }

    /// The present views have caught up, so the wanted ones can take their place.
    async fn plan_later(&mut self, stop: &StopSignal) -> Result<(), RuntimeError> {
        let here = self.positions.clone();
        let (program, positions) = self.plan_at(&here, stop).await?.into_result()?;
        self.change = Change::None;
        self.rebuild(program, RebuildScope::Changed, RecordKind::Rebuild, here.join(&positions), stop).await
    }

    /// What a target lacks as a whole goes out before the next epoch, so that it is of this one
    /// whatever was interrupted.
    async fn deliver_replacements(&mut self) -> Result<(), RuntimeError> {
        let needs: Vec<bool> = self.drivers.iter().map(|driver| driver.needs_replace(&self.pending)).collect();
        let mut needs = needs.into_iter();
        self.deliver(|_| needs.next().unwrap_or(false)).await
    }

    /// What is due beside the rounds.
    async fn keep_house(&mut self, goal: &Goal) -> Result<(), RuntimeError> {
        self.take_reports()?;
        self.note_in_line()?;
        self.answer_requests().await?;
        if self.comparison_is_due() {
            self.cancel_polls().await;
            self.compare_sinks().await?;
        }
        if !goal.at_once {
            self.begin_deliveries(Driver::is_due)?;
            for driver in self.drivers.iter_mut().filter(|driver| !driver.is_busy() && driver.maintenance_is_due()) {
                driver.begin_maintenance();
            }
        }
        self.forget_delivered()?;
        if self.checkpoint_is_due() {
            self.save_checkpoint().await?;
            self.trim_log().await?;
        }
        if self.status_at.is_none_or(|at| at.elapsed() >= LONGEST_SLEEP) && !goal.at_once {
            self.save_progress().await?;
            for feed in &mut self.feeds {
                if let Some(read) = self.positions.get(feed.id()) {
                    feed.look_at_head(*read);
                }
            }
            self.write_status().await?;
        }
        Ok(())
    }

    /// Every sink up to date, everything saved. A sink that stays behind is an error of its own, in
    /// the end.
    async fn finish(&mut self, until: &RunUntil, stop: &StopSignal) -> Result<(), RuntimeError> {
        let last = self.epoch();
        let until_then = Instant::now() + self.config.retry_for;
        self.drivers.iter_mut().for_each(Driver::hurry);
        // Of a run that is stopped, a sink with a schedule waits for its moment in the next one.
        let is_stopped = matches!(until, RunUntil::Stopped);
        let is_left = |driver: &Driver| is_stopped && driver.pace.waits_for_a_moment();
        self.deliver(|driver| driver.is_busy() || !(driver.is_current(last) || is_left(driver))).await?;
        if !matches!(until, RunUntil::Stopped) {
            while !stop.is_stopped() && Instant::now() < until_then {
                let waits = self.drivers.iter().filter(|driver| !driver.is_current(last)).map(|driver| driver.due_in());
                let Some(wait) = waits.min() else { break };
                sleep(wait.min(until_then.saturating_duration_since(Instant::now())), stop).await;
                self.deliver(|driver| driver.is_due() && !driver.is_current(last)).await?;
            }
            // Runs that end by themselves may be all there are.
            for driver in self.drivers.iter_mut().filter(|driver| driver.needs_maintenance(Duration::ZERO)) {
                driver.begin_maintenance();
            }
            for driver in &mut self.drivers {
                tokio::select! {
                    () = driver.rest() => {}
                    () = stop.stopped() => driver.hurry(),
                }
            }
            self.sinks_at_rest().await?;
        }
        if self.saved.epoch != Some(last) && self.last.is_some() {
            self.save_checkpoint().await?;
        } else {
            self.store_checkpoint().await?;
        }
        self.save_progress().await?;
        self.trim_log().await?;
        for feed in &mut self.feeds {
            feed.settle().await;
        }
        self.note_in_line()?;
        if matches!(until, RunUntil::Stopped) { Ok(()) } else { self.sinks_are_current() }
    }

    /// The error for sinks that could not be brought to the last epoch.
    pub(crate) fn sinks_are_current(&mut self) -> Result<(), RuntimeError> {
        let last = self.epoch();
        let behind: Vec<SinkBehind> = self
            .drivers
            .iter_mut()
            .filter(|driver| !driver.is_current(last) || driver.aside == Some(Aside::Compare))
            .filter_map(|driver| {
                let epoch = driver.epoch();
                let error = driver.trouble.take()?.error;
                Some(SinkBehind { sink: driver.name.clone(), epoch, error })
            })
            .collect();
        let detached: Vec<_> = self.detached().collect();
        if !detached.is_empty() {
            return Err(RuntimeError::SinksDetached(detached));
        }
        if behind.is_empty() { Ok(()) } else { Err(RuntimeError::SinksBehind(behind)) }
    }

    /// The wanted views, as a checkpoint of this moment records them.
    pub(crate) fn recorded_views(&self) -> Result<serde_json::Value, RuntimeError> {
        match self.change {
            // What the engine has is not yet what is wanted.
            Change::Later => Ok(serde_json::Value::Null),
            _ => views_json(&self.config),
        }
    }
}

async fn sleep(time: Duration, stop: &StopSignal) {
    if !time.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = stop.stopped() => {}
        }
    }
}
