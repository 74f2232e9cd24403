/**
 * The clients of the bench `drops`. Cuts each of them off the network at random times, and compares what each received
 * with what was to be delivered.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { optionsOf } from '../harness/processes.mjs'
import { quantile } from '../harness/stats.mjs'
import { CLIENTS } from './drop-clients.mjs'
import { createLink } from './link.mjs'
import { createReceipts } from './receipts.mjs'

const { ports, streams, client: kind, capacity } = optionsOf()
const CUT_MS = 2000
/** A loss is certain if all clients are connected and nothing arrives for so long. */
const QUIET_MS = 5000
/** Longer than any client waits between two attempts. */
const OVERDUE_MS = 60_000
const CHECK_MS = 100
/** So many clients connect at once at the start. */
const AT_ONCE = 100

const attempts = []
const recoveries = []
let opens = 0
let lastAt = 0
let onFirst = () => undefined

process.on('disconnect', () => process.exit())
process.on('message', async ({ type, seconds, due }) => {
  if (type === 'cut') for (const { link } of clients) setTimeout(() => link.cut(CUT_MS), Math.random() * seconds * 1000)
  if (type === 'first') process.send({ type: 'received', all: await allHaveFirst() })
  if (type === 'verify') process.send({ type: 'verified', ...(await verify(due)) })
})

const clients = []
for (let i = 0; i < streams; i++) {
  clients.push(openClient(i))
  if (i % AT_ONCE === AT_ONCE - 1) await allOpen(i + 1)
}
await allOpen(streams)
const opensAtStart = opens
process.send({ type: 'ready' })

function openClient(i) {
  const client = { receipts: createReceipts(capacity), link: undefined }
  let restoredAt
  client.link = createLink({
    ports,
    turn: i,
    onAttempt: (at) => attempts.push(at),
    onRestored: () => {
      restoredAt = performance.now()
    },
  })
  CLIENTS[kind](client.link, {
    onOpen: () => {
      opens++
    },
    onNumber: (number) => {
      lastAt = performance.now()
      if (!client.receipts.add(number)) return
      if (number === 0) onFirst()
      if (restoredAt !== undefined) recoveries.push(lastAt - restoredAt)
      restoredAt = undefined
    },
    onGap: client.receipts.announceGap,
    onReset: client.receipts.announceReset,
    onEnd: (error) => {
      throw new Error(`A client does not reconnect: ${error?.message}`)
    },
  })
  return client
}

async function allOpen(count) {
  while (opens < count) await sleep(CHECK_MS)
}

/** Event 0 shows that all are subscribed. */
async function allHaveFirst() {
  const waiting = () => clients.filter(({ receipts }) => receipts.isMissing(0)).length
  while (waiting() > 0) await new Promise((resolve) => (onFirst = resolve))
  attempts.length = 0
  return true
}

async function verify(due) {
  lastAt = performance.now()
  const isComplete = () => clients.every(({ receipts }) => due.every((number) => !receipts.isMissing(number)))
  const isQuiet = () => performance.now() - lastAt > QUIET_MS
  const overdueAt = lastAt + OVERDUE_MS
  while (!isComplete() && !isQuiet() && performance.now() < overdueAt) {
    if (!clients.every(({ link }) => link.isOpen())) lastAt = performance.now()
    await sleep(CHECK_MS)
  }
  // Long enough for second copies.
  await sleep(CHECK_MS)
  const counts = clients.map(({ receipts }) => receipts.count(due))
  const sum = (pick) => counts.reduce((total, each) => total + pick(each), 0)
  const silent = sum((each) => each.silent.length)
  const announced = sum((each) => each.announced)
  const total = due.length * streams
  return {
    delivered: (100 * (total - silent - announced)) / total,
    doubled: sum((each) => each.doubled),
    announced,
    silent,
    reconnects: opens - opensAtStart,
    peak: mostInOneSecond(attempts),
    ...(recoveries.length > 0 && {
      recoveryMedian: quantile(recoveries, 0.5),
      recoveryMax: Math.max(...recoveries),
    }),
    examples: counts.flatMap(({ silent: numbers }, i) =>
      numbers.length ? [`${rangesOf(numbers)} (client ${i})`] : [],
    ),
  }
}

/** `1-3, 7` */
function rangesOf(numbers) {
  const ranges = []
  for (const number of numbers) {
    const range = ranges.at(-1)
    if (range?.[1] === number - 1) range[1] = number
    else ranges.push([number, number])
  }
  return ranges.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(', ')
}

/** @param times in order */
function mostInOneSecond(times) {
  let most = 0
  for (let end = 0, start = 0; end < times.length; end++) {
    while (times[end] - times[start] >= 1000) start++
    most = Math.max(most, end - start + 1)
  }
  return most
}
