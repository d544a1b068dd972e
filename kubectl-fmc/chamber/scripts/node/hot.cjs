'use strict';
// node hot.cjs MAIN runs MAIN in a worker and, at SIGHUP, in a new one. The old
// one takes requests until the new one listens, and goes on if that fails.

const cluster = require('node:cluster');
const fs = require('node:fs');
const path = require('node:path');

const [main, ...args] = process.argv.slice(2);
cluster.setupPrimary({ exec: path.resolve(main), args });
fs.writeFileSync(process.env.HOME + '/hot.pid', String(process.pid));

let current; // takes requests
let next; // does not listen yet

function retire(worker) {
  worker.disconnect(); // ends when its requests are answered
  setTimeout(() => worker.process.kill('SIGKILL'), 5000).unref();
}

function start() {
  const worker = cluster.fork();
  next = worker;
  worker.once('listening', () => {
    if (worker !== next) return;
    if (current) retire(current);
    current = worker;
    next = undefined;
  });
  worker.on('exit', (code) => {
    if (worker === current || (worker === next && !current)) process.exit(code ?? 1);
    if (worker === next) {
      next = undefined;
      console.error('chamber: the new code ended before it listened: the old code goes on');
    }
  });
}

process.on('SIGHUP', () => {
  const stale = next;
  start();
  if (stale) stale.process.kill('SIGKILL');
});
start();
