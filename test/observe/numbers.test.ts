import { expect } from 'chai'
import { Counts, Histogram } from '../../lib/observe/numbers.js'

describe('counts by labels', () => {
  it('have all label values from the start, at 0', () => {
    const counts = new Counts({ source: ['a', 'b'], admitted: ['true', 'false'] })
    expect(counts.samples()).to.deep.equal([
      { labels: { source: 'a', admitted: 'true' }, value: 0 },
      { labels: { source: 'a', admitted: 'false' }, value: 0 },
      { labels: { source: 'b', admitted: 'true' }, value: 0 },
      { labels: { source: 'b', admitted: 'false' }, value: 0 },
    ])
    expect(new Counts({}).samples()).to.deep.equal([{ labels: {}, value: 0 }])
  })

  it('count values that are in no table as other, so the labels are bounded', () => {
    const counts = new Counts({ source: ['a', 'b'], admitted: ['true', 'false'] })
    counts.add(['a', 'true'], 3)
    for (let i = 0; i < 1000; i++) counts.add([`x${i}`, 'true'])
    counts.add([undefined, 'true'])
    counts.add(['a,true', 'true'])
    expect(counts.samples().filter(({ value }) => value > 0)).to.deep.equal([
      { labels: { source: 'a', admitted: 'true' }, value: 3 },
      { labels: { source: 'other', admitted: 'true' }, value: 1002 },
    ])
  })
})

describe('a histogram', () => {
  it('adds the weight of an observation to all buckets with an upper bound of at least its value', () => {
    const histogram = new Histogram([1, 10])
    histogram.observe(1, 1000)
    histogram.observe(1.5)
    histogram.observe(11, 2)
    expect(histogram.samples('h', { path: 'live' })).to.deep.equal([
      { metricName: 'h_bucket', labels: { path: 'live', le: 1 }, value: 1000 },
      { metricName: 'h_bucket', labels: { path: 'live', le: 10 }, value: 1001 },
      { metricName: 'h_bucket', labels: { path: 'live', le: '+Inf' }, value: 1003 },
      { metricName: 'h_sum', labels: { path: 'live' }, value: 1023.5 },
      { metricName: 'h_count', labels: { path: 'live' }, value: 1003 },
    ])
  })
})
