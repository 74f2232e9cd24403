/** The samples of the last minute, with the rates between them. */

import type { ClientSample, Sample } from '../../../server/workbench/state.js'
import { SHOWN_MS } from '../plots/chart.js'

/** The period of a rate. */
const RATE_MS = 1000

export interface ClientFrame extends Omit<ClientSample, 'dropped'> {
  readonly dropped: number
  readonly droppedBy: Readonly<Record<string, number>>
  readonly droppedPerSecond: number
}

export interface Frame extends Omit<Sample, 'clients'> {
  readonly publishedPerSecond: number
  readonly clients: ReadonlyMap<string, ClientFrame>
}

export function appendFrame(frames: readonly Frame[], sample: Sample): readonly Frame[] {
  const before = frames.findLast(({ at }) => at <= sample.at - RATE_MS) ?? frames[0]
  const seconds = before === undefined ? 1 : Math.max(0.001, (sample.at - before.at) / 1000)
  // A new scenario resets the counts.
  const rate = (now: number, then: number | undefined): number => Math.max(0, now - (then ?? now)) / seconds
  const clients = sample.clients.map((client): [string, ClientFrame] => {
    const dropped = Object.values(client.dropped).reduce((sum, count) => sum + count, 0)
    const droppedPerSecond = rate(dropped, before?.clients.get(client.id)?.dropped)
    return [client.id, { ...client, dropped, droppedBy: client.dropped, droppedPerSecond }]
  })
  const publishedPerSecond = rate(sample.published, before?.published)
  const kept = frames.filter(({ at }) => at > sample.at - SHOWN_MS)
  return [...kept, { ...sample, clients: new Map(clients), publishedPerSecond }]
}
