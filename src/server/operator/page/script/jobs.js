// Jobs.
import { at, say } from "./dom.js";
import { age } from "./words.js";

export function showJobs(jobs) {
  at("jobs-section").hidden = !jobs;
  if (!jobs) return;
  const counts = [jobs.queued, jobs.delayed, jobs.active, jobs.completed, jobs.failed, jobs.cancelled, jobs.webhooks];
  [...at("jobs").children].forEach((cell, place) => say(cell, counts[place]));
  say(at("jobs-oldest"), jobs.oldestSeconds == null ? "" : `the oldest has been queued for ${age(jobs.oldestSeconds)}`);
}
