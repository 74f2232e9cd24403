/** One quantity over the last minute: a line, its axis, and what it is now. Drawn by hand, so that it stays small. */
import type { ReactNode } from 'react'
import { type Frame, SHOWN_MS } from './frames.js'

const WIDTH = 240
const HEIGHT = 64
/** Between two samples further apart than this nobody knows what was. */
const HOLE_MS = 2000

type Value = (frame: Frame) => number | null | undefined

export interface PlotProps {
  readonly label: string
  /** The colour, by what is shown. */
  readonly tone: 'queue' | 'lag' | 'drops' | 'tokens' | 'process'
  readonly frames: readonly Frame[]
  readonly value: Value
  /** A fainter line behind it. */
  readonly beside?: Value
  readonly format: (value: number) => string
  /** The axis ends here at least. */
  readonly top: number
  /** The axis ends at 1, 2 or 5 of tens of these. @defaultValue 1 */
  readonly step?: number
  /** A bound, as a dashed line. */
  readonly bound?: number | undefined
  /** How the time is shaded, if at all. */
  readonly shade?: (frame: Frame) => string | undefined
}

export function Plot({
  label,
  tone,
  frames,
  value,
  beside,
  format,
  top,
  step = 1,
  bound,
  shade,
}: PlotProps): ReactNode {
  const last = frames.at(-1)
  const now = last && value(last)
  let highest = Math.max(top, bound ?? 0)
  for (const frame of frames) highest = Math.max(highest, value(frame) ?? 0, beside?.(frame) ?? 0)
  const end = niceCeil(highest / step) * step
  const x = ({ at }: Frame): number => WIDTH * (1 - ((last?.at ?? at) - at) / SHOWN_MS)
  const y = (amount: number): number => HEIGHT - (Math.max(0, amount) / end) * HEIGHT
  const line = (of: Value): string => pathOf(frames, of, x, y)
  const path = line(value)
  return (
    <figure className={`plot ${tone}`}>
      <figcaption>
        <span>{label}</span>
        <output>{now === null || now === undefined ? '–' : format(now)}</output>
      </figcaption>
      <div className="axis" aria-hidden="true">
        <span>{format(end)}</span>
        <span>0</span>
      </div>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        {shade !== undefined &&
          shadesOf(frames, shade, x).map(({ from, to, name }) => (
            <rect key={from} className={`shade ${name}`} x={from} width={Math.max(0, to - from)} height={HEIGHT} />
          ))}
        <path className="grid" d={`M0 ${HEIGHT / 2}H${WIDTH}M60 0V${HEIGHT}M120 0V${HEIGHT}M180 0V${HEIGHT}`} />
        {bound !== undefined && <path className="bound" d={`M0 ${y(bound)}H${WIDTH}`} />}
        {beside !== undefined && <path className="beside" d={line(beside)} />}
        <path className="area" d={areaOf(path)} />
        <path className="line" d={path} />
      </svg>
    </figure>
  )
}

type Scale<T> = (of: T) => number

function pathOf(frames: readonly Frame[], of: Value, x: Scale<Frame>, y: Scale<number>): string {
  let path = ''
  let before: Frame | undefined
  for (const frame of frames) {
    const amount = of(frame)
    if (amount === null || amount === undefined) {
      before = undefined
      continue
    }
    const continues = before !== undefined && frame.at - before.at < HOLE_MS
    path += `${continues ? 'L' : 'M'}${x(frame).toFixed(1)} ${y(amount).toFixed(1)}`
    before = frame
  }
  return path
}

/** Each piece of the line, closed along the axis. */
function areaOf(path: string): string {
  const pieces = path.split('M').filter((piece) => piece.includes('L'))
  return pieces
    .map((piece) => {
      const from = piece.slice(0, piece.indexOf(' '))
      const to = piece.slice(piece.lastIndexOf('L') + 1, piece.lastIndexOf(' '))
      return `M${piece}L${to} ${HEIGHT}L${from} ${HEIGHT}Z`
    })
    .join('')
}

interface Shade {
  readonly from: number
  to: number
  readonly name: string
}

function shadesOf(frames: readonly Frame[], shade: NonNullable<PlotProps['shade']>, x: Scale<Frame>): Shade[] {
  const shades: Shade[] = []
  let open: Shade | undefined
  for (const frame of frames) {
    const name = shade(frame)
    if (open !== undefined) open.to = x(frame)
    if (name === open?.name) continue
    open = name === undefined ? undefined : { from: x(frame), to: x(frame), name }
    if (open !== undefined) shades.push(open)
  }
  return shades
}

/** 1, 2 or 5 of tens: so an axis changes seldom, and reads easily when it does. */
function niceCeil(value: number): number {
  const ten = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5].find((digit) => value <= digit * ten * 1.000001) ?? 10) * ten
}
