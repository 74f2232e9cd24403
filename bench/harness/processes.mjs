/** Child processes of a bench: the server under test alone on one core, all other processes on the other. */
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

export const SERVER_CORE = 0
export const LOAD_CORE = 1

/** Far longer than any step of a bench. */
const OVERDUE_MS = 180_000
const TASKSET = '/usr/bin/taskset'
const here = new URL('..', import.meta.url)
const pinned = cpus().length > 1 && existsSync(TASKSET)

/** Ends the children if the bench fails or is interrupted. Not with SIGKILL: a child may have its own children. */
const children = new Set()
process.on('exit', () => {
  for (const child of children) child.kill()
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

/**
 * Forks a script of this folder on one core, if the system supports pinning.
 * @param options passed as JSON in the first argument, see `optionsOf`
 */
export function start(script, core, options = {}, flags = []) {
  const how = pinned
    ? { execPath: TASKSET, execArgv: ['-c', String(core), process.execPath, ...flags] }
    : { execArgv: flags }
  return watched(fork(new URL(script, here), [JSON.stringify(options)], how))
}

/** Runs a program, optionally on one core. Its output is shown only after an error. */
export function run(program, args, core) {
  const command = pinned && core !== undefined ? [TASKSET, '-c', String(core), program, ...args] : [program, ...args]
  return watched(spawn(command[0], command.slice(1), { stdio: ['ignore', 'ignore', 'inherit'] }))
}

/** The options that the parent passed to a forked script. */
export function optionsOf() {
  return JSON.parse(process.argv[2] ?? '{}')
}

/** Returns the next message of this type. Rejects if the child ends before, or takes too long. */
export function message(child, type) {
  return new Promise((resolve, reject) => {
    const settle = (error, received) => {
      clearTimeout(overdue)
      child.off('message', onMessage)
      child.off('exit', onExit)
      if (error) reject(error)
      else resolve(received)
    }
    const onMessage = (received) => {
      if (received.type === type) settle(undefined, received)
    }
    const name = child.spawnargs.find((argument) => argument.endsWith('.mjs'))?.replace(/.*bench\//, '')
    const onExit = (code) => settle(new Error(`${name} ended with ${code} before "${type}"`))
    const overdue = setTimeout(() => settle(new Error(`no "${type}" from ${name} in time`)), OVERDUE_MS)
    child.on('message', onMessage)
    child.on('exit', onExit)
    if (hasEnded(child)) onExit(child.exitCode ?? child.signalCode)
  })
}

/** Sends a request to a child and waits for its answer. */
export function ask(child, question, type) {
  const answer = message(child, type)
  child.send(question)
  return answer
}

/** Ends children and waits for their end, so that the next ones have the cores for themselves. */
export async function stop(...those) {
  await Promise.all(those.map((child) => end(child, 'SIGTERM')))
}

/** Sends a signal that ends the child, and waits for its end. */
export async function end(child, signal) {
  if (hasEnded(child)) return
  child.kill(signal)
  await once(child, 'exit')
}

/** After a contestant has failed: ends its remaining processes. */
export function stopAll() {
  return stop(...children)
}

/** A port that was free a moment ago. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** Starts a redis-server for the bench, without persistence. */
export async function startRedis(core = LOAD_CORE) {
  const port = await freePort()
  const child = run('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', ''], core)
  await accepting(port)
  return { child, port, url: `redis://127.0.0.1:${port}` }
}

/** Resolves when a server listens on the port. */
export async function accepting(port) {
  for (let attempt = 0; attempt < 200; attempt++) {
    const socket = connect(port, '127.0.0.1')
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (open) return
    await sleep(50)
  }
  throw new Error(`Nothing listens on port ${port}`)
}

/** CPU time that the processes have used so far, all threads, in µs. */
export function cpuMicros(pids) {
  return schedulerMicros(pids, 0)
}

/** The time for which the processes were runnable and waited for their core, in µs. */
export function waitedMicros(pids) {
  return schedulerMicros(pids, 1)
}

function schedulerMicros(pids, field) {
  let nanos = 0
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      nanos += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[field])
    }
  }
  return nanos / 1000
}

/** Resident memory of the processes, in bytes. */
export function rssBytes(pids) {
  let kilobytes = 0
  for (const pid of pids) kilobytes += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  return kilobytes * 1024
}

function hasEnded(child) {
  return child.exitCode !== null || child.signalCode !== null
}

function watched(child) {
  children.add(child)
  child.once('exit', () => children.delete(child))
  // A missing program, or a request to a child that has ended: the waiting caller gets the error.
  child.on('error', (error) => {
    console.error(error.message)
    if (child.pid === undefined) children.delete(child)
  })
  return child
}
