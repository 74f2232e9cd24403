/**
 * HTTP/2: frames by hand in any order and form, on connections that are cut at any byte, half-closed, reset or abandoned.
 * Not with Node's own client: under the same load it makes the server of Node 20 corrupt its heap, also a server
 * without the kit.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Random } from '../proof/random.js'
import { type Area, type Findings, inParallel, turns } from './area.js'
import { hostileFrames, PREFACE, SETTINGS, statusesIn, wrongSize } from './http2-frames.js'
import { firstAnswer, leave } from './leaving.js'
import { SECRET, Site } from './site.js'

const WIDTH = 16
/** After so many cases something is published, and so written to all open streams. */
const PULSE = 10
const MAX_KEPT = 200_000

async function hostileConnection(site: Site, random: Random, findings: Findings): Promise<void> {
  const socket = connect(site.http2Port, '127.0.0.1')
  let received: Buffer = Buffer.alloc(0)
  socket.on('error', () => findings.count('connection error'))
  socket.on('data', (chunk: Buffer) => {
    if (received.length < MAX_KEPT) received = Buffer.concat([received, chunk])
  })
  await once(socket, 'connect')
  const frames = Array.from({ length: 1 + random.below(12) }, () => hostileFrames(random))
  const bytes = Buffer.concat([PREFACE, SETTINGS, ...(random.chance(0.85) ? frames : [wrongSize(random)])])
  for (let start = 0; start < bytes.length && !socket.destroyed; ) {
    const end = random.chance(0.5) ? bytes.length : start + 1 + random.below(60)
    socket.write(bytes.subarray(start, end))
    start = end
    await turns(random.below(4))
  }
  if (random.chance(0.7)) await firstAnswer(socket)
  await turns(random.below(20))
  await leave(socket, random)
  if (received.includes(SECRET)) findings.violate('foreign bytes on HTTP/2')
  for (const status of statusesIn(received)) {
    findings.count(status)
    if (status === '500') findings.violate('a 500 on HTTP/2')
  }
}

export const http2: Area = {
  name: 'http2',
  about: 'frames in any order and form, resets, closed windows, lost connections',
  async run(cases, random, findings) {
    const site = await Site.start({ findings })
    try {
      await inParallel(cases, WIDTH, async (number) => {
        await findings.case(
          () => `case ${number}`,
          () => hostileConnection(site, random, findings),
        )
        if (number % PULSE === 0) await site.pulse()
      })
      await site.assertHealthy()
    } finally {
      await site.stop()
    }
  },
}
