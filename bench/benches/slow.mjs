/**
 * Stalled readers: clients that never read, beside healthy ones on the same channel. Measures their cost: memory of the
 * server, and delay of the healthy clients.
 *
 * Each contestant runs twice, in fresh processes, with the same steps:
 *   healthy streams open ─► 3 s of traffic, until memory has settled ─► [stalled streams open] ─► the phase that counts
 * Growth is the highest RSS in that phase minus the RSS at its beginning. Part of it is garbage that is not collected
 * yet, so the same is measured without stalled streams.
 *
 * First the kernel buffers the bytes of a stalled stream: 3.6 MB each, full after 5 s. For the other 25 s the server
 * must handle them. The kit would end such a stream 30 s after its socket was full (`stallMs`), and nginx 60 s after
 * the last byte (`send_timeout`). Both are later than the phase.
 *
 * A server that cannot keep up with the rate publishes less: see the column "delivered in time". Then its growth is too
 * small, and its delays are those of fewer events. Delays of nchan are from the POST, and its streams have Nagle's
 * algorithm on: small packets wait for the answer to those before them. And p99 needs a quiet machine: if the server or
 * the client "waited for a core" for more than a few percent of the time, other programs used the core, and p99
 * includes their effect. (nchan's publisher shares the client's core, so its value is always higher.)
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { chosen, wayOf } from '../harness/contestants.mjs'
import { ask, LOAD_CORE, message, rssBytes, start, stop, waitedMicros } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

const CONTESTANTS = ['kit', 'better-sse', 'express-sse', 'sse-channel', 'nchan']
const STALLED = 20
const SAMPLED = 10
const RATE = 1500
/** About 500 bytes on the wire, with the rest of the event and its frame. */
const TEXT_LENGTH = 420
const WARM_UP_SECONDS = 3
const SECONDS_WITHOUT = 10
const SAMPLE_MS = 500
/** A client that is behind has this long to get the next event. */
const PATIENCE_MS = 3000
const MEGABYTE = 1_048_576

export const slow = {
  title: (streams) =>
    `${streams} healthy streams and ${STALLED} that never read, ${RATE.toLocaleString('en')} events/s of 500 bytes`,
  defaults: { streams: 100, runs: 3, seconds: 30 },
  columns: [
    { key: 'growth', title: 'RSS growth, MB', digits: 1 },
    { key: 'growthWithout', title: 'without stalled', digits: 1 },
    { key: 'p50', title: 'delay p50, ms', digits: 2 },
    { key: 'p50Without', title: 'p50 without', digits: 2 },
    { key: 'p99', title: 'p99, ms', digits: 2 },
    { key: 'p99Without', title: 'p99 without', digits: 2 },
    { key: 'ratio', title: 'p99 with / without', digits: 2 },
    { key: 'kept', title: 'of the events due, delivered in time, %', digits: 1 },
    { key: 'keptWithout', title: 'in time without, %', digits: 1 },
    { key: 'missing', title: 'missing in the end', digits: 0 },
    { key: 'waited', title: 'waited for a core, %', digits: 1 },
    { key: 'kernel', title: 'held by the kernel, MB a stalled stream', digits: 1 },
  ],
  goals: [
    { of: 'kit', figure: 'growth', atMost: 20 },
    { of: 'kit', figure: 'ratio', atMost: 1.25 },
  ],
  run: ({ streams, runs, seconds, only }) =>
    inTurn(chosen(CONTESTANTS, only), runs, async (name) => {
      const without = await measure(wayOf(name), streams, 0, Math.min(seconds, SECONDS_WITHOUT))
      const { kernel, ...withStalled } = await measure(wayOf(name), streams, STALLED, seconds)
      return {
        growth: withStalled.growth,
        growthWithout: without.growth,
        p50: withStalled.p50,
        p50Without: without.p50,
        p99: withStalled.p99,
        p99Without: without.p99,
        ratio: withStalled.p99 / without.p99,
        kept: withStalled.kept,
        keptWithout: without.kept,
        missing: withStalled.missing + without.missing,
        waited: Math.max(withStalled.waited, without.waited),
        kernel,
      }
    }),
}

async function measure({ server, core }, streams, stalled, seconds) {
  const child = start(server, core)
  const { port, pids } = await message(child, 'listening')
  const load = start('load/healthy.mjs', LOAD_CORE, { port, streams, sampled: SAMPLED })
  await message(load, 'ready')
  const paced = ask(
    child,
    { type: 'pace', rate: RATE, seconds: WARM_UP_SECONDS + seconds, textLength: TEXT_LENGTH },
    'paced',
  )
  // If another step fails first, that error counts, not the end of the server.
  paced.catch(() => undefined)
  await sleep(WARM_UP_SECONDS * 1000)

  const rssBefore = rssBytes(pids)
  const stalledLoad = start('load/stalled.mjs', LOAD_CORE, { port, streams: stalled })
  const { ports } = stalled > 0 ? await message(stalledLoad, 'ready') : { ports: [] }
  load.send({ type: 'record' })
  const both = [pids, [load.pid]]
  const waitedBefore = both.map(waitedMicros)
  let rss = rssBefore
  for (let ended = false; !ended; rss = Math.max(rss, rssBytes(pids))) {
    ended = await Promise.race([paced.then(() => true), sleep(SAMPLE_MS, false)])
  }
  const { events } = await paced

  const waited = Math.max(...both.map((each, i) => waitedMicros(each) - waitedBefore[i])) / (seconds * 10_000)
  const { p50, p99 } = await ask(load, { type: 'delays' }, 'delays')
  const inTime = (await ask(load, { type: 'total' }, 'total')).events
  const kernel = kernelBytes(port, ports) / MEGABYTE / (stalled || 1)
  const { bytesRead } = await ask(stalledLoad, { type: 'total' }, 'total')
  if (bytesRead > 0) throw new Error(`Stalled clients read ${bytesRead} bytes`)
  const missing = events * streams - (await finalTotal(load, events * streams))
  if (missing < 0) throw new Error(`${-missing} events too many`)
  await stop(load, stalledLoad)
  await stop(child)
  const due = RATE * (WARM_UP_SECONDS + seconds) * streams
  return { growth: (rss - rssBefore) / MEGABYTE, p50, p99, kept: (inTime / due) * 100, missing, waited, kernel }
}

/** The number of events received when all have arrived, or when no more arrive. */
async function finalTotal(load, expected) {
  let total = 0
  for (let last = -1; last < total && total < expected; await sleep(PATIENCE_MS)) {
    last = total
    total = (await ask(load, { type: 'total' }, 'total')).events
  }
  await sleep(SAMPLE_MS)
  return (await ask(load, { type: 'total' }, 'total')).events
}

/** The bytes of stalled streams that the kernel holds: sent by the server and not read by the client. */
function kernelBytes(port, clientPorts) {
  let bytes = 0
  for (const line of readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)) {
    const [, local, remote, , queues] = line.trim().split(/\s+/)
    const [localPort, remotePort] = [local, remote].map((address) => Number.parseInt(address.split(':')[1], 16))
    const [toSend, toRead] = queues.split(':').map((hex) => Number.parseInt(hex, 16))
    if (localPort === port && clientPorts.includes(remotePort)) bytes += toSend
    if (remotePort === port && clientPorts.includes(localPort)) bytes += toRead
  }
  return bytes
}
